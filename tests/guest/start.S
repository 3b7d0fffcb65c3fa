/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the PVH entry (32-bit, paging off, EBX = start info) to guest_main() in ring 3, in less than
 * a hundred instructions: page tables and GDT are data of this file, the rest of the set-up is C in
 * ring 3 (rt.c). Ring 0 is kept short since some machines emulate it, at 1 to 2 MIPS; there is no
 * int3, cmpxchg16b or xrstor here, which such machines cannot do.
 *
 * Application processors come in through ap_trampoline, which rt.c copies below 1 MiB.
 */
#include "guest.h"

#define CODE32 0x08
#define DATA0  0x10
#define CODE0  0x18
#define DATA3  0x23
#define CODE3  0x2b
#define TSS    0x30 /* 16 bytes for each processor */

#define CR0_PE         0x1
#define CR0_PG         0x80000000
#define CR4_PAE        0x20
#define MSR_EFER       0xc0000080
#define EFER_LME       0x100
#define RFLAGS_FIXED   0x2
#define RFLAGS_IF      0x200
#define RFLAGS_IOPL3   0x3000
#define PTE_PRESENT    0x07 /* present, writable, user */
#define PTE_LARGE      0x80
#define ERROR_CODES    0x60227d00 /* the exceptions that push an error code */
#define MSR_X2APIC_EOI 0x80b
#define TSS_SHIFT      7
#define IO_BITMAP_SIZE 0x2000

	.text
	.code32
	.globl start
start:
	cld
	movl %ebx, start_info
	xorl %ebx, %ebx
	lgdt gdt_pointer
long_mode:				/* EBX: this processor's index */
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $(CR0_PE | CR0_PG), %eax
	movl %eax, %cr0
	ljmp $CODE0, $ring0

	.code64
ring0:
	movl $DATA0, %eax
	movl %eax, %ss
	movl $DATA3, %eax
	movl %eax, %ds
	movl %eax, %es

	/*
	 * RDX: this processor's TSS, with RSP0 at byte 4 and the offset of the I/O permission
	 * bitmap at 102. The bitmap is one for all and open, beside IOPL 3, which IRETQ drops
	 * where ring 0 is emulated; QEMU's emulation looks at the bitmap of no TSS that came
	 * from a snapshot, as a busy one. RCX: the TSS's descriptor, built here.
	 */
	movl %ebx, %edx
	shll $TSS_SHIFT, %edx
	addl $tss, %edx
	movl %ebx, %eax
	incl %eax
	shll $STACK0_SHIFT, %eax
	addl $stacks0, %eax
	movl %eax, %esp
	movl %eax, 4(%rdx)
	movl $io_bitmap, %eax
	subl %edx, %eax
	movw %ax, 102(%rdx)
	addl $IO_BITMAP_SIZE, %eax	/* the descriptor's limit */
	movl %ebx, %ecx
	shll $4, %ecx
	movw %ax, gdt + TSS(%rcx)
	movw %dx, gdt + TSS + 2(%rcx)
	movl %edx, %eax
	shrl $16, %eax			/* the image ends below 16 MiB: guest.ld sees to it */
	orl $0x8900, %eax
	movl %eax, gdt + TSS + 4(%rcx)
	addl $TSS, %ecx
	ltr %cx
	lidt idt_pointer

	movl %ebx, %edi
	leal 1(%rbx), %eax
	shll $STACK3_SHIFT, %eax
	addl $stacks3, %eax
	pushq $DATA3
	pushq %rax
	pushq $(RFLAGS_FIXED | RFLAGS_IOPL3)
	pushq $CODE3
	pushq $ring3
	iretq
ring3:
	xorl %ebp, %ebp
	call guest_start		/* (index), does not return */

/*
 * An application processor's first instructions, in real mode at TRAMPOLINE_GPA. It takes the next
 * free index; one more than there is room for stops here.
 */
	.globl ap_trampoline, ap_trampoline_size
	.code16
ap_trampoline:
	cli
	lgdtl %cs:(ap_gdt_pointer - ap_trampoline)
	movl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $ap_protected
ap_gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
ap_trampoline_end:

	.code32
ap_protected:
	movl $DATA0, %eax
	movl %eax, %ds
	movl $1, %ebx
	lock xaddl %ebx, next_index
	cmpl $GUEST_CPUS, %ebx
	jb long_mode
1:	hlt
	jmp 1b

	.code64
/*
 * long call_ring0(function, a, b): the function runs in ring 0 on a stack of 1 << STACK0_SHIFT
 * bytes. The way in is an invalid opcode, told from others by its address: where ring 0 is
 * emulated, INT n is not, and SYSCALL arrives with ring 3's rights.
 */
	.globl call_ring0
call_ring0:
	ud2
	ret

	.globl invalid_opcode
invalid_opcode:
	cmpq $call_ring0, (%rsp)
	jne vectors + INVALID_OPCODE * 16
	addq $2, (%rsp)			/* past the UD2 */
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	pushq %rbp			/* aligns the stack, too */
	call *%rax
	popq %rbp
	iretq

/* Functions for call_ring0(): interrupts in ring 3 on and off, in the frame it returns by. */
	.globl interrupts_allow, interrupts_forbid
interrupts_allow:
	orl $RFLAGS_IF, 32(%rsp)
	ret
interrupts_forbid:
	andl $~RFLAGS_IF, 32(%rsp)
	ret

/*
 * Function for call_ring0(): halts until an interrupt has come. One that comes between STI and HLT
 * goes on behind the HLT, lest it be slept through: no processor lets it in there, but QEMU's VMRUN
 * does not load the interrupt shadow (APM vol. 2, 15.21.5) that its #VMEXIT has stored.
 */
	.globl halt
halt:
	sti
halted:	hlt
	cli
	ret

/*
 * One stub of 16 bytes for each vector. Exceptions end in fault(); interrupts are counted in
 * interrupts[vector] and acknowledged, and whoever waits for one looks there.
 */
	.globl vectors
	.balign 16
vectors:
	.set vector, 0
	.rept 256
	.balign 16
	.if vector >= 32 || !((ERROR_CODES >> (vector & 31)) & 1)
	pushq $0
	.endif
	pushq $vector
	.if vector < 32
	jmp exception
	.else
	jmp interrupt
	.endif
	.set vector, vector + 1
	.endr

exception:
	movq %rsp, %rdi
	andq $-16, %rsp
	call fault			/* (struct fault_frame *), does not return */

interrupt:
	pushq %rax
	pushq %rcx
	pushq %rdx
	movq 24(%rsp), %rax
	lock incl interrupts(, %rax, 4)
	cmpq $halted, 40(%rsp)
	jne 1f
	incq 40(%rsp)
1:
	movl $MSR_X2APIC_EOI, %ecx
	xorl %eax, %eax
	xorl %edx, %edx
	wrmsr
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.data
	.balign 16
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* CODE32 */
	.quad 0x00cf93000000ffff	/* DATA0 */
	.quad 0x00af9b000000ffff	/* CODE0 */
	.quad 0x00cff3000000ffff	/* DATA3 */
	.quad 0x00affb000000ffff	/* CODE3 */
	.skip 16 * GUEST_CPUS
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
idt_pointer:
	.word 256 * 16 - 1
	.quad idt
	.balign 4
next_index:
	.long 1
ap_trampoline_size:
	.long ap_trampoline_end - ap_trampoline

/* The first 4 GiB one to one, in 2 MiB pages, open to ring 3. */
	.balign 4096
	.globl pml4, pdpt
pml4:	.quad pdpt + PTE_PRESENT
	.skip 511 * 8
pdpt:	.quad page_directories + 0x0000 + PTE_PRESENT
	.quad page_directories + 0x1000 + PTE_PRESENT
	.quad page_directories + 0x2000 + PTE_PRESENT
	.quad page_directories + 0x3000 + PTE_PRESENT
	.skip 508 * 8
page_directories:
	.set page, 0
	.rept 4 * 512
	.quad page + PTE_PRESENT + PTE_LARGE
	.set page, page + 0x200000
	.endr

	.bss
	.globl idt, start_info, interrupts
	.balign 4096
idt:	.skip 256 * 16
stacks0: .skip GUEST_CPUS << STACK0_SHIFT
stacks3: .skip GUEST_CPUS << STACK3_SHIFT
tss:	.skip GUEST_CPUS << TSS_SHIFT
io_bitmap: .skip IO_BITMAP_SIZE + 1
	.balign 8
interrupts: .skip 256 * 4
start_info: .skip 8

	.section .note.GNU-stack, "", @progbits
