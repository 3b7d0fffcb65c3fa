/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's terminal: raw while the guest's console is on it, restored on every way out, also
 * from a signal handler.
 */
#ifndef VMM_TERM_H
#define VMM_TERM_H

#include <stdbool.h>

/* Finds out whether the process is in the foreground: from within a PID namespace nobody can. */
void term_look(void);

/* Whether standard input is a terminal that this process may read: it is in the foreground. */
bool term_is_usable(void);

/* The window's size; 0 by 0 where unknown. */
void term_size(unsigned *rows, unsigned *cols);

/* Every key goes to the guest from here on. 0, -EINTR in the background, or another -errno. */
int term_raw(void);

/*
 * Around a stop by SIGTSTP or SIGSTOP, from which whoever continues us may have changed it: as it
 * was before term_raw(), and raw again where we are in the foreground. Harmless where it is not
 * raw.
 */
void term_lend(void);
void term_take_back(void);

/* As it was before term_raw(); async-signal-safe; harmless where it is not raw. */
void term_restore(void);

#endif
