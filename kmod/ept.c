// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory: slots of the process's own memory, and the EPT that maps of them what the guest has
 * touched (SDM, The Extended Page Table Mechanism). No page is pinned: Linux says through the
 * mmu_notifier when one is about to be used otherwise, and it is taken out of the EPT, and out of
 * all CPUs' caches, before that happens. What is read is mapped read-only where the process could
 * not write it without a copy, so that guests share what files give them. Read insn.c for what is
 * no memory.
 */
#include "mayfly.h"

#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <asm/io.h>

#define LEVELS	  EPT_LEVELS
#define LARGE	  (1ull << 7)
#define ADDRESS	  0x000ffffffffff000ull
#define TABLE	  VMX_EPT_RWX_MASK
#define PRESENT	  VMX_EPT_RWX_MASK
#define MEMORY	  (VMX_EPTP_MT_WB << VMX_EPT_MT_EPTE_SHIFT | VMX_EPT_IPAT_BIT)
#define LARGE_LOW ((1ull << 21) - 1)
#define STEP	  (1ull << 30) /* of a zap between two looks whether someone waits */
#define AROUND	  16u	       /* pages that one fault maps at most: to the end of 64 KiB */

struct fault {
	u64 gpa;
	unsigned long hva, seq;
	unsigned pages;	 /* of the slot, from this one to the end of its 64 KiB */
	bool large_fits; /* the slot covers the whole 2 MiB page, at the same place in it */
	bool write, exec;
};

static unsigned index_of(u64 gpa, int level)
{
	return gpa >> (12 + 9 * (level - 1)) & 511;
}

static u64 *table_of(u64 entry)
{
	return __va(entry & ADDRESS);
}

/* mmu_lock held. */
static struct slot *slot_at(struct vm *vm, u64 gpa)
{
	unsigned i;

	for (i = 0; i < vm->nr_slots; i++) {
		struct slot *s = &vm->slots[i];

		if (gpa >= s->gpa && gpa - s->gpa < s->size)
			return s;
	}
	return NULL;
}

/* Takes what is mapped in [start, end) out of a table that maps from `base` on. Whether any was. */
static bool zap_table(u64 *table, int level, u64 base, u64 start, u64 end)
{
	const u64 span = 1ull << (12 + 9 * (level - 1));
	const unsigned last = min_t(u64, (end - 1 - base) / span, 511);
	unsigned i = start > base ? (start - base) / span : 0;
	bool any = false;

	for (; i <= last; i++) {
		const u64 entry = table[i];

		if (!(entry & PRESENT))
			continue;
		if (level == 1 || entry & LARGE) {
			WRITE_ONCE(table[i], 0);
			any = true;
		} else {
			any |= zap_table(table_of(entry), level - 1, base + i * span, start, end);
		}
	}
	return any;
}

/* mmu_lock held; dropped now and then where the caller may wait. */
static bool zap(struct vm *vm, u64 start, u64 end, bool may_wait)
{
	bool any = false;
	u64 at;

	for (at = start; at < end; at += STEP) {
		any |= zap_table(vm->root, LEVELS, 0, at, min(end, at + STEP));
		if (may_wait)
			cond_resched_lock(&vm->mmu_lock);
	}
	return any;
}

static bool zap_host(struct vm *vm, unsigned long start, unsigned long end, bool may_wait)
{
	bool any = false;
	unsigned i;

	for (i = 0; i < vm->nr_slots; i++) {
		const struct slot s = vm->slots[i];
		const unsigned long from = max(start, s.hva), to = min(end, s.hva + s.size);

		if (from < to)
			any |= zap(vm, s.gpa + (from - s.hva), s.gpa + (to - s.hva), may_wait);
	}
	return any;
}

static int on_invalidate_start(struct mmu_notifier *notifier,
			       const struct mmu_notifier_range *range)
{
	struct vm *vm = container_of(notifier, struct vm, notifier);
	bool any;

	spin_lock(&vm->mmu_lock);
	if (vm->nr_invalidating++ == 0) {
		vm->invalid_start = range->start;
		vm->invalid_end = range->end;
	} else {
		vm->invalid_start = min(vm->invalid_start, range->start);
		vm->invalid_end = max(vm->invalid_end, range->end);
	}
	any = zap_host(vm, range->start, range->end, mmu_notifier_range_blockable(range));
	spin_unlock(&vm->mmu_lock);
	if (any)
		vmcs_flush_guest(vm);
	return 0;
}

static void on_invalidate_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct vm *vm = container_of(notifier, struct vm, notifier);

	spin_lock(&vm->mmu_lock);
	vm->seq++;
	vm->nr_invalidating--;
	spin_unlock(&vm->mmu_lock);
}

/* The process is at its end: no vCPU runs any more, all its memory goes. */
static void on_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct vm *vm = container_of(notifier, struct vm, notifier);

	spin_lock(&vm->mmu_lock);
	vm->seq++;
	zap_host(vm, 0, TASK_SIZE_MAX, true);
	spin_unlock(&vm->mmu_lock);
	vmcs_flush_guest(vm);
}

static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start = on_invalidate_start,
	.invalidate_range_end = on_invalidate_end,
	.release = on_release,
};

void ept_reserve_free(struct ept_reserve *r)
{
	unsigned i;

	for (i = 0; i < LEVELS - 1; i++)
		free_page((unsigned long)r->table[i]);
}

/* What the last fault has left is as good as new. */
static int reserve_fill(struct ept_reserve *r)
{
	unsigned i;

	for (i = 0; i < LEVELS - 1; i++) {
		if (!r->table[i])
			r->table[i] = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!r->table[i])
			return -ENOMEM;
	}
	return 0;
}

/*
 * Whether the host maps a leaf of 2 MiB or more there; its tables are not freed while interrupts
 * are off, and what they say holds as long as no invalidation has begun (mmu_lock held).
 */
static bool host_is_large(struct mm_struct *mm, unsigned long hva)
{
	bool is_large = false;
	unsigned long flags;
	pgd_t pgd;
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	local_irq_save(flags);
	pgd = READ_ONCE(*pgd_offset(mm, hva));
	if (pgd_none(pgd))
		goto out;
	p4d = READ_ONCE(*p4d_offset(&pgd, hva));
	if (p4d_none(p4d) || !p4d_present(p4d))
		goto out;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (pud_none(pud) || !pud_present(pud))
		goto out;
	is_large = pud_leaf(pud);
	if (is_large)
		goto out;
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	is_large = !pmd_none(pmd) && pmd_present(pmd) && pmd_leaf(pmd);
out:
	local_irq_restore(flags);
	return is_large;
}

/*
 * Writes the entry. A table that a large page takes the place of is returned: it is freed when no
 * CPU walks it any more.
 */
static u64 *install(struct vm *vm, struct ept_reserve *r, u64 gpa, int level, u64 leaf)
{
	u64 *table = vm->root, *old = NULL, *entry;
	int at;

	for (at = LEVELS; at > level; at--) {
		entry = &table[index_of(gpa, at)];
		if (!(*entry & PRESENT) || *entry & LARGE) {
			WRITE_ONCE(*entry, __pa(r->table[at - 2]) | TABLE);
			r->table[at - 2] = NULL;
		}
		table = table_of(*entry);
	}
	entry = &table[index_of(gpa, level)];
	if (level > 1 && *entry & PRESENT && !(*entry & LARGE))
		old = table_of(*entry);
	WRITE_ONCE(*entry, leaf);
	return old;
}

/* The entry for gpa at a level, or NULL where no table is. */
static u64 *entry_at(struct vm *vm, u64 gpa, int level)
{
	u64 *table = vm->root, entry;
	int at;

	for (at = LEVELS; at > level; at--) {
		entry = table[index_of(gpa, at)];
		if (!(entry & PRESENT) || entry & LARGE)
			return NULL;
		table = table_of(entry);
	}
	return &table[index_of(gpa, level)];
}

/* What is mapped for gpa at the level of 2 MiB pages. */
static u64 large_entry(struct vm *vm, u64 gpa)
{
	const u64 *entry = entry_at(vm, gpa, 2);

	return entry ? *entry : 0;
}

static bool is_invalidating(struct vm *vm, unsigned long hva)
{
	return vm->nr_invalidating && hva >= vm->invalid_start && hva < vm->invalid_end;
}

static bool is_invalid(struct vm *vm, const struct fault *f)
{
	return vm->seq != f->seq || is_invalidating(vm, f->hva);
}

static bool maps_large(struct vm *vm, const struct fault *f)
{
	const u64 present = large_entry(vm, f->gpa);

	if (!f->large_fits || !host_is_large(vm->mm, f->hva))
		return false;
	/* With the bug of large executable pages, what was executed once stays in small ones. */
	return !vmx.multihit || (!f->exec && (!(present & PRESENT) || present & LARGE));
}

static u64 small_leaf(struct page *page, bool writable)
{
	/* The guest writes from here on; with our reference held, the page cannot go unseen. */
	if (writable)
		SetPageDirty(page);
	return page_to_phys(page) | VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK | MEMORY |
	       (writable ? VMX_EPT_WRITABLE_MASK : 0);
}

/* The pages after the first, in the same table, where nothing is mapped yet. mmu_lock held. */
static void map_around(struct vm *vm, const struct fault *f, struct page **pages, int n,
		       bool writable)
{
	u64 *entry = entry_at(vm, f->gpa, 1);
	int i;

	for (i = 1; i < n; i++)
		if (!(entry[i] & PRESENT) && !is_invalidating(vm, f->hva + i * PAGE_SIZE))
			WRITE_ONCE(entry[i], small_leaf(pages[i], writable));
}

/* `n` pages from the fault's on, with a reference to each, one at least. */
static void map(struct vm *vm, struct ept_reserve *r, const struct fault *f, struct page **pages,
		int n, bool writable)
{
	const u64 frame = page_to_phys(pages[0]);
	u64 *old = NULL, before;
	bool flush = false;

	spin_lock(&vm->mmu_lock);
	if (is_invalid(vm, f))
		goto out; /* the guest tries again */
	before = large_entry(vm, f->gpa);
	if (maps_large(vm, f)) {
		const u64 exec = vmx.multihit ? 0 : VMX_EPT_EXECUTABLE_MASK;
		const u64 write = writable ? VMX_EPT_WRITABLE_MASK : 0;

		old = install(vm, r, f->gpa, 2,
			      (frame & ~LARGE_LOW) | VMX_EPT_READABLE_MASK | write | exec | MEMORY |
				      LARGE);
		flush = old;
		if (writable)
			SetPageDirty(pages[0]);
	} else {
		install(vm, r, f->gpa, 1, small_leaf(pages[0], writable));
		map_around(vm, f, pages, n, writable);
		flush = before & LARGE;
	}
out:
	spin_unlock(&vm->mmu_lock);
	if (flush)
		vmcs_flush_guest(vm);
	free_page((unsigned long)old);
}

/* False: no RAM there. */
static bool fault_begin(struct vm *vm, struct fault *f)
{
	const u64 large = f->gpa & ~LARGE_LOW;
	const struct slot *s;

	spin_lock(&vm->mmu_lock);
	s = slot_at(vm, f->gpa);
	if (s) {
		f->hva = s->hva + (f->gpa - s->gpa);
		f->seq = vm->seq;
		f->pages = min_t(u64, AROUND - (f->gpa >> PAGE_SHIFT) % AROUND,
				 (s->gpa + s->size - f->gpa) >> PAGE_SHIFT);
		f->large_fits = large >= s->gpa && large + LARGE_LOW + 1 <= s->gpa + s->size &&
				((s->gpa ^ s->hva) & LARGE_LOW) == 0;
	}
	spin_unlock(&vm->mmu_lock);
	return s;
}

/*
 * The page, faulted in where it has to be, and of those after it what the process has present in
 * the same way. How many, or -errno. A read does not break a copy-on-write; where there is none to
 * break, the guest may write at once.
 */
static int get_pages(const struct fault *f, struct page **pages, bool *writable)
{
	int n = get_user_pages_fast_only(f->hva, f->pages, FOLL_WRITE, pages);

	*writable = n > 0 || f->write;
	if (n <= 0 && !f->write)
		n = get_user_pages_fast_only(f->hva, f->pages, 0, pages);
	if (n <= 0)
		n = get_user_pages_fast(f->hva, 1, f->write ? FOLL_WRITE : 0, pages);
	return n ?: -EFAULT;
}

int ept_fault(struct vcpu *v, u64 gpa, bool write, bool exec)
{
	struct fault f = { .gpa = gpa & PAGE_MASK, .write = write, .exec = exec };
	struct page *pages[AROUND];
	bool writable;
	int n, err;

	if (!fault_begin(v->vm, &f))
		return EXIT;
	err = reserve_fill(&v->reserve);
	if (err)
		return err;
	n = get_pages(&f, pages, &writable);
	if (n < 0)
		return n == -EINTR || n == -EAGAIN ? RESUME : -EFAULT;
	map(v->vm, &v->reserve, &f, pages, n, writable);
	while (n)
		put_page(pages[--n]);
	return RESUME;
}

/* Host address of `n` bytes within one page, or 0. */
static unsigned long host_address(struct vm *vm, u64 gpa)
{
	const struct slot *s;
	unsigned long hva;

	spin_lock(&vm->mmu_lock);
	s = slot_at(vm, gpa);
	hva = s ? s->hva + (gpa - s->gpa) : 0;
	spin_unlock(&vm->mmu_lock);
	return hva;
}

bool guest_is_ram(struct vm *vm, u64 gpa)
{
	return host_address(vm, gpa);
}

/* By pages: what lies side by side for the guest may not for the process. */
static int copy(struct vm *vm, u64 gpa, void *to, const void *from, unsigned n)
{
	while (n) {
		const unsigned part = min_t(unsigned, n, PAGE_SIZE - offset_in_page(gpa));
		const unsigned long hva = host_address(vm, gpa);
		unsigned long left;

		if (!hva)
			return -ENXIO;
		if (to)
			left = copy_from_user(to, (void __user *)hva, part);
		else
			left = copy_to_user((void __user *)hva, from, part);
		if (left)
			return -EFAULT;
		to = to ? to + part : NULL;
		from = from ? from + part : NULL;
		gpa += part;
		n -= part;
	}
	return 0;
}

int guest_read(struct vm *vm, u64 gpa, void *to, unsigned n)
{
	return copy(vm, gpa, to, NULL, n);
}

int guest_write(struct vm *vm, u64 gpa, const void *from, unsigned n)
{
	return copy(vm, gpa, NULL, from, n);
}

static bool is_region(const struct kvm_userspace_memory_region *r)
{
	const u64 gpa_end = 1ull << GPA_BITS;

	if (r->flags || !r->userspace_addr || offset_in_page(r->guest_phys_addr) ||
	    offset_in_page(r->memory_size) || offset_in_page(r->userspace_addr))
		return false;
	if (r->guest_phys_addr > gpa_end || r->memory_size > gpa_end - r->guest_phys_addr)
		return false;
	return access_ok((void __user *)r->userspace_addr, r->memory_size);
}

static bool overlaps(const struct vm *vm, const struct kvm_userspace_memory_region *r)
{
	unsigned i;

	for (i = 0; i < SLOTS_MAX; i++) {
		const struct slot *s = &vm->slots[i];

		if (s->size && s->id != r->slot && r->guest_phys_addr < s->gpa + s->size &&
		    s->gpa < r->guest_phys_addr + r->memory_size)
			return true;
	}
	return false;
}

static struct slot *slot_by_id(struct vm *vm, u32 id)
{
	unsigned i;

	for (i = 0; i < SLOTS_MAX; i++)
		if (vm->slots[i].size && vm->slots[i].id == id)
			return &vm->slots[i];
	return NULL;
}

static struct slot *free_slot(struct vm *vm)
{
	unsigned i;

	for (i = 0; i < SLOTS_MAX; i++)
		if (!vm->slots[i].size)
			return &vm->slots[i];
	return NULL;
}

/* vm->lock held. New, gone (size 0) or elsewhere (same size), as in KVM; never resized. */
int ept_set_region(struct vm *vm, const struct kvm_userspace_memory_region *r)
{
	struct slot *s = slot_by_id(vm, r->slot), old = {};

	if (!is_region(r))
		return -EINVAL;
	if (!s && !r->memory_size)
		return -EINVAL;
	if (s && r->memory_size && r->memory_size != s->size)
		return -EINVAL;
	if (r->memory_size && overlaps(vm, r))
		return -EEXIST;
	if (!s)
		s = free_slot(vm);
	if (!s)
		return -EINVAL;
	spin_lock(&vm->mmu_lock);
	old = *s;
	*s = (struct slot){ .gpa = r->guest_phys_addr,
			    .size = r->memory_size,
			    .hva = r->userspace_addr,
			    .id = r->slot };
	vm->nr_slots = max_t(unsigned, vm->nr_slots, s - vm->slots + 1);
	vm->seq++;
	/* Whoever comes in between finds the new slot, and what is zapped of that faults again. */
	if (old.size)
		zap(vm, old.gpa, old.gpa + old.size, true);
	spin_unlock(&vm->mmu_lock);
	if (old.size)
		vmcs_flush_guest(vm);
	return 0;
}

static void free_tables(u64 *table, int level)
{
	unsigned i;

	for (i = 0; level > 1 && i < 512; i++)
		if (table[i] & PRESENT && !(table[i] & LARGE))
			free_tables(table_of(table[i]), level - 1);
	free_page((unsigned long)table);
}

int ept_init(struct vm *vm)
{
	int err;

	spin_lock_init(&vm->mmu_lock);
	vm->root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vm->root || !zalloc_cpumask_var(&vm->cpus, GFP_KERNEL_ACCOUNT)) {
		free_page((unsigned long)vm->root);
		return -ENOMEM;
	}
	vm->notifier.ops = &notifier_ops;
	err = mmu_notifier_register(&vm->notifier, vm->mm);
	if (err) {
		free_cpumask_var(vm->cpus);
		free_page((unsigned long)vm->root);
	}
	return err;
}

/* No vCPU is left. */
void ept_fini(struct vm *vm)
{
	mmu_notifier_unregister(&vm->notifier, vm->mm);
	free_tables(vm->root, LEVELS);
	free_cpumask_var(vm->cpus);
}
