/* SPDX-License-Identifier: GPL-2.0-only */
/* Empty: bcc includes it and brings what it needs of it itself. */
#pragma once
