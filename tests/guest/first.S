/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest whose first instructions write a byte to COM1, and which does nothing after it: what a
 * monitor has used when that byte is seen is what it takes to begin. Not a program of guest.h's.
 */
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

	.section .note.GNU-stack, "", @progbits
