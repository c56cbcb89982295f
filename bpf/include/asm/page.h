/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc sizes its perf buffers with it; portwatch has none. */
#pragma once
#define PAGE_SIZE 4096
