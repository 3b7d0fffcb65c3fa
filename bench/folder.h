/* SPDX-License-Identifier: Apache-2.0 */
/* A folder for the files of a measuring program and its monitors, which is gone with them. */
#ifndef BENCH_FOLDER_H
#define BENCH_FOLDER_H

#include <stddef.h>

/*
 * Makes a folder in $TMPDIR, else in `where`, or in /tmp where that cannot be or its path has no
 * room in `dir`. Call it before anything is printed or started: what returns is a child process,
 * and its parent, which has its exit status, or 128+n for a signal n that ends either, waits for
 * the child and all that it has started and removes the folder. Ends the program where it cannot.
 */
void folder_make(char *dir, size_t size, const char *where);

#endif
