/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest whose first instructions write a byte to COM1, and which does nothing after it: what a
 * monitor has used when that byte is seen is what it takes to begin. Not a program of guest.h's.
 */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:
	movw $0x3f8, %dx		/* COM1_PORT of vmm/layout.h */
	movb $'\n', %al
	outb %al, %dx
1:
	hlt
	jmp 1b

	.data
	.globl image_begin
image_begin:
	.long 0				/* guest.ld has a segment for it */

	.section .note.GNU-stack, "", @progbits
