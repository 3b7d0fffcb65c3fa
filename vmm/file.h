/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as they are named to mayfly: by a path, or as an open descriptor that came with a request,
 * which api/ names FILE_FD and its number. In the jail such a name opens nothing: the descriptor is
 * all there is of the file.
 */
#ifndef VMM_FILE_H
#define VMM_FILE_H

#define FILE_FD "/proc/self/fd/"

/*
 * open(2) with O_CLOEXEC and O_NOCTTY, files that are made being the owner's only; of a descriptor
 * a copy, which must have the access that `flags` ask for. The descriptor or -errno.
 */
int file_open(const char *path, int flags);

#endif
