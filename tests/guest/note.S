/* SPDX-License-Identifier: Apache-2.0 */
/* By which a loader finds `start`: XEN_ELFNOTE_PHYS32_ENTRY, of every guest. */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 4, 18
	.asciz "Xen"
	.long start

	.section .note.GNU-stack, "", @progbits
