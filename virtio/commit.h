/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done with a copy-on-write layer while no microVM runs: `mayfly disk`. Each takes the
 * files' locks first. 0 or -errno, with one line logged that names the file and the reason.
 */
#ifndef VIRTIO_COMMIT_H
#define VIRTIO_COMMIT_H

/*
 * Writes the layer's data into its base, then empties the layer. Killed at any point, base and
 * layer together read as before, and another commit finishes it.
 */
int commit_layer(const char *layer, const char *base);

/* Empties the layer: the disk reads as its base again. Not while a commit is unfinished. */
int commit_reset(const char *layer);

#endif
