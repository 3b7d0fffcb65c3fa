/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * int vmx_enter(u64 *regs, bool is_launched): into the guest and back, interrupts off, the VMCS
 * current. 0: the guest ran and exited. 1: the instruction failed. Between the exit and the first
 * RET the return predictor and the branch history are the host's again (SDM, Speculation; Linux,
 * Documentation/admin-guide/hw-vuln/spectre.rst).
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

#define HOST_RSP 0x6c14 /* the VMCS field */

	.text
SYM_FUNC_START(vmx_enter)
	.irp	r, rbp, r15, r14, r13, r12, rbx, rdi
	push	%\r
	.endr
	mov	$HOST_RSP, %eax
1:	vmwrite	%rsp, %rax
	bt	$0, %esi		/* CF: is_launched. VERW leaves it alone, unlike ZF */
	mov	%rdi, %rax
	mov	1*8(%rax), %rcx
	mov	2*8(%rax), %rdx
	mov	3*8(%rax), %rbx
	mov	5*8(%rax), %rbp
	mov	6*8(%rax), %rsi
	mov	7*8(%rax), %rdi
	.irp	n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	\n*8(%rax), %r\n
	.endr
	mov	0*8(%rax), %rax
	UNWIND_HINT_SAVE
	CLEAR_CPU_BUFFERS
	jc	3f
2:	vmlaunch
	jmp	4f
3:	vmresume
4:	mov	$1, %ebx
	jmp	5f
	_ASM_EXTABLE(1b, 4b)
	_ASM_EXTABLE(2b, 4b)
	_ASM_EXTABLE(3b, 4b)

SYM_INNER_LABEL_ALIGN(vmx_exit_point, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR
	push	%rax
	mov	8(%rsp), %rax
	mov	%rcx, 1*8(%rax)
	mov	%rdx, 2*8(%rax)
	mov	%rbx, 3*8(%rax)
	mov	%rbp, 5*8(%rax)
	mov	%rsi, 6*8(%rax)
	mov	%rdi, 7*8(%rax)
	.irp	n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	%r\n, \n*8(%rax)
	.endr
	pop	0*8(%rax)
	xor	%ebx, %ebx
5:
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, X86_FEATURE_RSB_VMEXIT_LITE
	CLEAR_BRANCH_HISTORY_VMEXIT
	/* Nothing of the guest stays for speculation to use. */
	mov	%ebx, %eax
	.irp	r, ecx, edx, esi, r8d, r9d, r10d, r11d
	xor	%\r, %\r
	.endr
	.irp	r, rdi, rbx, r12, r13, r14, r15, rbp
	pop	%\r
	.endr
	RET
SYM_FUNC_END(vmx_enter)
