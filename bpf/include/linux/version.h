/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc compares it with old versions only; the programs never do. */
#pragma once
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 10, 0)
