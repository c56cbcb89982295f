/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc asks for it by name before every compile; bcc guards its BPF types with this option. */
#pragma once
#define CONFIG_BPF_SYSCALL 1
