/* SPDX-License-Identifier: Apache-2.0 */
/* One microVM, from its configuration to its exit code. */
#ifndef VMM_VM_H
#define VMM_VM_H

#include "../api/config.h"

/*
 * Builds the microVM, runs it to its end and returns the process's exit code (end.h). Once per
 * process: it sets up signals and the terminal.
 */
int vm_run(const struct vm_config *config);

#endif
