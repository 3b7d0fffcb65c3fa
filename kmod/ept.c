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
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include <asm/io.h>

#define LEVELS	       EPT_LEVELS
#define LARGE	       (1ull << 7)
#define PRESENT	       VMX_EPT_RWX_MASK /* of an entry; all rights of one that names a table */
#define MEMORY	       (VMX_EPTP_MT_WB << VMX_EPT_MT_EPTE_SHIFT | VMX_EPT_IPAT_BIT)
#define STEP	       (1ull << 30) /* of a zap between two looks whether someone waits */
#define SLOT_BYTES_MAX (((1ull << 31) - 1) << PAGE_SHIFT) /* as in KVM: its bitmap can be had */
#define AROUND	       16u /* pages that one fault maps at most: to the end of 64 KiB */

struct fault {
	u64 gpa;
	unsigned long hva, seq;
	unsigned pages; /* of the slot, from this one to the end of its 64 KiB */
	int level;	/* of the largest page that the slot covers, at the same place in it */
	bool write, exec, is_readonly, is_logged;
};

/* Bytes that an entry of a level maps. */
static u64 span(int level)
{
	return 1ull << (12 + 9 * (level - 1));
}

static size_t bitmap_bytes(u64 slot_size)
{
	return BITS_TO_LONGS(slot_size >> PAGE_SHIFT) * sizeof(long);
}

static unsigned index_of(u64 address, int level)
{
	return address / span(level) & 511;
}

static u64 *table_of(u64 entry)
{
	return __va(entry & ENTRY_ADDRESS);
}

static bool is_table(const u64 *entry)
{
	return entry && *entry & PRESENT && !(*entry & LARGE);
}

/* mmu_lock held, or copies. */
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

/* A write that is or will be in memory before the log is shown. mmu_lock held. */
static void mark_dirty(struct vm *vm, u64 gpa)
{
	struct slot *s = slot_at(vm, gpa);

	if (s && s->dirty)
		__set_bit((gpa - s->gpa) >> PAGE_SHIFT, s->dirty);
}

/* Takes what is mapped in [start, end) out of a table that maps from `base` on. Whether any was. */
static bool zap_table(u64 *table, int level, u64 base, u64 start, u64 end)
{
	const unsigned last = min_t(u64, (end - 1 - base) / span(level), 511);
	unsigned i = start > base ? (start - base) / span(level) : 0;
	bool any = false;

	for (; i <= last; i++) {
		const u64 entry = table[i];

		if (!(entry & PRESENT))
			continue;
		if (level == 1 || entry & LARGE) {
			WRITE_ONCE(table[i], 0);
			any = true;
		} else {
			any |= zap_table(table_of(entry), level - 1, base + i * span(level), start,
					 end);
		}
	}
	return any;
}

/*
 * mmu_lock held; dropped now and then where the caller may wait. What is taken out is out of all
 * CPUs before that: whoever finds nothing mapped may give the page away. Whether any was.
 */
static bool zap(struct vm *vm, u64 start, u64 end, bool may_wait)
{
	bool any = false;
	u64 at;

	for (at = start; at < end; at += STEP) {
		if (zap_table(vm->root, LEVELS, 0, at, min(end, at + STEP))) {
			vmcs_flush_guest(vm);
			any = true;
		}
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

/* Until its end, which changes seq, nothing of it is mapped anew. mmu_lock held. */
static void invalidate_start(struct vm *vm, unsigned long start, unsigned long end)
{
	if (vm->nr_invalidating++ == 0) {
		vm->invalid_start = start;
		vm->invalid_end = end;
	} else {
		vm->invalid_start = min(vm->invalid_start, start);
		vm->invalid_end = max(vm->invalid_end, end);
	}
}

static int on_invalidate_start(struct mmu_notifier *notifier,
			       const struct mmu_notifier_range *range)
{
	struct vm *vm = container_of(notifier, struct vm, notifier);

	spin_lock(&vm->mmu_lock);
	invalidate_start(vm, range->start, range->end);
	zap_host(vm, range->start, range->end, mmu_notifier_range_blockable(range));
	spin_unlock(&vm->mmu_lock);
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

/*
 * Has the guest used it since the last time? What is mapped counts as used: it is taken out, and
 * comes back where the guest goes on using it. Else reclaim would see a busy guest's pages as cold.
 */
static int on_clear_young(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long start,
			  unsigned long end)
{
	struct vm *vm = container_of(notifier, struct vm, notifier);
	bool any;

	spin_lock(&vm->mmu_lock);
	any = zap_host(vm, start, end, false);
	spin_unlock(&vm->mmu_lock);
	return any;
}

static bool is_mapped(struct vm *vm, u64 gpa)
{
	const u64 *table = vm->root;
	int level;

	for (level = LEVELS; level > 1 && is_table(&table[index_of(gpa, level)]); level--)
		table = table_of(table[index_of(gpa, level)]);
	return table[index_of(gpa, level)] & PRESENT;
}

static int on_test_young(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long address)
{
	struct vm *vm = container_of(notifier, struct vm, notifier);
	const struct slot *s;
	bool any = false;

	spin_lock(&vm->mmu_lock);
	for (s = vm->slots; s < vm->slots + vm->nr_slots; s++)
		if (address - s->hva < s->size)
			any |= is_mapped(vm, s->gpa + (address - s->hva));
	spin_unlock(&vm->mmu_lock);
	return any;
}

/* No release(): when the process is at its end, nobody can run a vCPU any more. */
static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start = on_invalidate_start,
	.invalidate_range_end = on_invalidate_end,
	.clear_flush_young = on_clear_young,
	.clear_young = on_clear_young,
	.test_young = on_test_young,
};

/* Charged to the caller's cgroup, and among SecPageTables in /proc/meminfo, as KVM's are. */
static u64 *new_table(void)
{
	u64 *table = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);

	if (table)
		mod_lruvec_page_state(virt_to_page(table), NR_SECONDARY_PAGETABLE, 1);
	return table;
}

static void free_table(u64 *table)
{
	if (table)
		mod_lruvec_page_state(virt_to_page(table), NR_SECONDARY_PAGETABLE, -1);
	free_page((unsigned long)table);
}

void ept_spare_free(struct vcpu *v)
{
	unsigned i;

	for (i = 0; i < LEVELS - 1; i++)
		free_table(v->spare[i]);
}

/* Before the lock is taken. What the last fault has left is as good as new. */
static int spare_fill(struct vcpu *v)
{
	unsigned i;

	for (i = 0; i < LEVELS - 1; i++) {
		v->spare[i] = v->spare[i] ?: new_table();
		if (!v->spare[i])
			return -ENOMEM;
	}
	return 0;
}

static void free_tables(u64 *table, int level)
{
	unsigned i;

	cond_resched();
	for (i = 0; level > 1 && i < 512; i++)
		if (is_table(&table[i]))
			free_tables(table_of(table[i]), level - 1);
	free_table(table);
}

/*
 * The size of the host's own page there, as a level: its tables look like ours. They are not freed
 * while interrupts are off, and what they say holds as long as no invalidation has begun (mmu_lock
 * held).
 */
static int host_level(struct mm_struct *mm, unsigned long hva)
{
	const u64 *table = (u64 *)mm->pgd;
	int level = pgtable_l5_enabled() ? 5 : 4;
	unsigned long flags;
	u64 entry;

	local_irq_save(flags);
	for (;; level--) {
		entry = READ_ONCE(table[index_of(hva, level)]);
		if (level == 1 || !(entry & _PAGE_PRESENT) || entry & _PAGE_PSE)
			break;
		table = table_of(entry);
	}
	local_irq_restore(flags);
	return entry & _PAGE_PRESENT ? level : 1;
}

/*
 * The entry for gpa at a level; without spare tables for those on the way, NULL where one lacks.
 * *was_large: a large page gave way to a table.
 */
static u64 *entry_at(struct vm *vm, u64 **spare, u64 gpa, int level, bool *was_large)
{
	u64 *table = vm->root, *entry;
	int at;

	for (at = LEVELS;; at--) {
		entry = &table[index_of(gpa, at)];
		if (at == level)
			return entry;
		if (!is_table(entry)) {
			if (!spare)
				return NULL;
			*was_large |= *entry & LARGE;
			WRITE_ONCE(*entry, __pa(spare[at - 2]) | PRESENT);
			spare[at - 2] = NULL;
		}
		table = table_of(*entry);
	}
}

static bool is_invalidating(struct vm *vm, unsigned long hva)
{
	return vm->nr_invalidating && hva >= vm->invalid_start && hva < vm->invalid_end;
}

static int level_for(struct vm *vm, const struct fault *f)
{
	const int level = min(f->level, host_level(vm->mm, f->hva));

	/* With the bug of large executable pages, what was executed once stays in small ones. */
	if (level > 1 && vmx.multihit && (f->exec || is_table(entry_at(vm, NULL, f->gpa, 2, NULL))))
		return 1;
	return level;
}

static u64 leaf(struct page *page, int level, bool writable)
{
	u64 entry = page_to_phys(page) & ~(span(level) - 1);

	entry |= VMX_EPT_READABLE_MASK | MEMORY | (level > 1 ? LARGE : 0);
	if (level == 1 || !vmx.multihit)
		entry |= VMX_EPT_EXECUTABLE_MASK;
	if (!writable)
		return entry;
	/* The guest writes from here on; with our reference held, the page cannot go unseen. */
	SetPageDirty(page);
	return entry | VMX_EPT_WRITABLE_MASK;
}

/*
 * `n` pages from the fault's on, one at least, with a reference to each. Those after the first lie
 * in the same table. A table that a large page takes the place of is freed when no CPU walks it any
 * more.
 */
static void map(struct vcpu *v, const struct fault *f, struct page **pages, int n, bool writable)
{
	struct vm *vm = v->vm;
	u64 *entry, *old = NULL;
	bool flush = false;
	int i, level;

	spin_lock(&vm->mmu_lock);
	if (vm->seq != f->seq || is_invalidating(vm, f->hva))
		goto out; /* the guest tries again */
	level = level_for(vm, f);
	entry = entry_at(vm, v->spare, f->gpa, level, &flush);
	if (level > 1 && is_table(entry)) {
		old = table_of(*entry);
		flush = true;
	}
	if (writable)
		mark_dirty(vm, f->gpa);
	WRITE_ONCE(*entry, leaf(pages[0], level, writable));
	writable &= !f->is_logged; /* the others have not been written yet */
	for (i = 1; level == 1 && i < n; i++)
		if (!(entry[i] & PRESENT) && !is_invalidating(vm, f->hva + i * PAGE_SIZE))
			WRITE_ONCE(entry[i], leaf(pages[i], 1, writable));
	if (flush)
		vmcs_flush_guest(vm); /* as in zap() */
out:
	spin_unlock(&vm->mmu_lock);
	if (old)
		free_tables(old, level - 1);
}

static bool fits(const struct slot *s, u64 gpa, int level)
{
	const u64 inside = span(level) - 1, start = gpa & ~inside;

	return start >= s->gpa && start + span(level) <= s->gpa + s->size &&
	       !((s->gpa ^ s->hva) & inside);
}

/* False: no RAM there, or none to write. */
static bool fault_begin(struct vm *vm, struct fault *f)
{
	const struct slot *s;

	spin_lock(&vm->mmu_lock);
	s = slot_at(vm, f->gpa);
	if (s && s->flags & KVM_MEM_READONLY && f->write)
		s = NULL;
	if (s) {
		f->is_readonly = s->flags & KVM_MEM_READONLY;
		f->is_logged = s->dirty;
		f->hva = s->hva + (f->gpa - s->gpa);
		f->seq = vm->seq;
		f->pages = min_t(u64, AROUND - (f->gpa >> PAGE_SHIFT) % AROUND,
				 (s->gpa + s->size - f->gpa) >> PAGE_SHIFT);
		f->level = f->is_logged ? 1 : vmx.has_1gb && !vmx.multihit ? 3 : 2;
		while (f->level > 1 && !fits(s, f->gpa, f->level))
			f->level--;
	}
	spin_unlock(&vm->mmu_lock);
	return s;
}

/*
 * The page, faulted in where it has to be, and of those after it what the process has present in
 * the same way. How many, or -errno. A read does not break a copy-on-write; where there is none to
 * break, the guest may write at once, unless its first write is to be seen.
 */
static int get_pages(const struct fault *f, struct page **pages, bool *writable)
{
	int n = 0;

	if (f->write || !(f->is_readonly || f->is_logged))
		n = get_user_pages_fast_only(f->hva, f->pages, FOLL_WRITE, pages);
	*writable = n > 0 || f->write;
	if (n <= 0 && !f->write)
		n = get_user_pages_fast_only(f->hva, f->pages, 0, pages);
	if (n <= 0)
		n = get_user_pages_fast(f->hva, 1, f->write ? FOLL_WRITE : 0, pages);
	return n ?: -EFAULT;
}

/* Apart, so that a kick does not pay for the array. */
static noinline int fault_in(struct vcpu *v, const struct fault *f)
{
	struct page *pages[AROUND];
	bool writable;
	int n, err;

	err = spare_fill(v);
	if (err)
		return err;
	n = get_pages(f, pages, &writable);
	if (n < 0)
		return n == -EINTR || n == -EAGAIN ? RESUME : -EFAULT;
	map(v, f, pages, n, writable);
	while (n)
		put_page(pages[--n]);
	return RESUME;
}

int ept_fault(struct vcpu *v, u64 gpa, bool write, bool exec)
{
	struct fault f = { .gpa = gpa & PAGE_MASK, .write = write, .exec = exec };

	return fault_begin(v->vm, &f) ? fault_in(v, &f) : EXIT;
}

/* Bytes within one page. copies held: the slot stays as it is until they are there. */
static int copy_in_page(struct vm *vm, u64 gpa, void *data, unsigned n, bool write)
{
	const struct slot *s = slot_at(vm, gpa);
	void __user *host;

	if (!s || (write && s->flags & KVM_MEM_READONLY))
		return -ENXIO;
	host = (void __user *)(s->hva + (gpa - s->gpa));
	if (write ? copy_to_user(host, data, n) : copy_from_user(data, host, n))
		return -EFAULT;
	if (write && s->dirty) {
		spin_lock(&vm->mmu_lock);
		mark_dirty(vm, gpa);
		spin_unlock(&vm->mmu_lock);
	}
	return 0;
}

/* By pages: what lies side by side for the guest may not for the process. */
int guest_copy(struct vm *vm, u64 gpa, void *data, unsigned n, bool write)
{
	int err = 0;

	down_read(&vm->copies);
	while (n && !err) {
		const unsigned part = min_t(unsigned, n, PAGE_SIZE - offset_in_page(gpa));

		err = copy_in_page(vm, gpa, data, part, write);
		data += part;
		gpa += part;
		n -= part;
	}
	up_read(&vm->copies);
	return err;
}

static bool is_region(const struct kvm_userspace_memory_region *r)
{
	const u64 gpa_end = 1ull << GPA_BITS;

	if (r->flags & ~(KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES) ||
	    (r->memory_size && !r->userspace_addr) ||
	    offset_in_page(r->guest_phys_addr | r->memory_size | r->userspace_addr))
		return false;
	if (r->guest_phys_addr > gpa_end || r->memory_size > gpa_end - r->guest_phys_addr ||
	    r->memory_size > SLOT_BYTES_MAX)
		return false;
	/* The notifier's addresses have no tags (LAM), and access_ok() lets those pass. */
	return r->userspace_addr <= TASK_SIZE_MAX &&
	       r->memory_size <= TASK_SIZE_MAX - r->userspace_addr;
}

/*
 * A slot that goes takes all tables with it, into `taken`, as a root: its own are empty, and those
 * of others are made anew where the guest goes on using them. mmu_lock held.
 */
static void take_tables(struct vm *vm, u64 *taken)
{
	unsigned i;

	for (i = 0; i < 512; i++) {
		taken[i] = vm->root[i];
		WRITE_ONCE(vm->root[i], 0);
	}
	vmcs_flush_guest(vm); /* as in zap() */
}

/* What may become of a slot: gone, elsewhere in the guest, logged or not. */
static bool can_become(const struct slot *s, const struct kvm_userspace_memory_region *r)
{
	return !r->memory_size || (r->memory_size == s->size && r->userspace_addr == s->hva &&
				   !((r->flags ^ s->flags) & KVM_MEM_READONLY));
}

/* vm->lock held. As in KVM. */
int ept_set_region(struct vm *vm, const struct kvm_userspace_memory_region *r)
{
	const u64 start = r->guest_phys_addr, size = r->memory_size;
	struct slot *s, *same = NULL, *room = NULL, old;
	unsigned long *dirty = NULL;
	u64 *tables = NULL;
	bool overlaps = false;

	if (!is_region(r))
		return -EINVAL;
	for (s = vm->slots; s < vm->slots + SLOTS_MAX; s++) {
		if (!s->size)
			room = room ?: s;
		else if (s->id == r->slot)
			same = s;
		else if (size && start < s->gpa + s->size && s->gpa < start + size)
			overlaps = true;
	}
	if (same ? !can_become(same, r) : !size)
		return -EINVAL;
	if (overlaps)
		return -EEXIST;
	s = same ?: room;
	if (!s)
		return -EINVAL;
	if (same && (!size || start != same->gpa)) {
		tables = new_table();
		if (!tables)
			return -ENOMEM;
	}
	if (size && r->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		dirty = s->dirty ?: kvzalloc(bitmap_bytes(size), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!dirty) {
			free_table(tables);
			return -ENOMEM;
		}
	}
	/* Who finds the slot gone may give the memory away: no copy is on its way to it. */
	down_write(&vm->copies);
	spin_lock(&vm->mmu_lock);
	old = *s;
	/* The slot stays until nothing of it is mapped: the notifier has to find what still is. */
	if (old.size) {
		invalidate_start(vm, old.hva, old.hva + old.size);
		zap(vm, old.gpa, old.gpa + old.size, true);
		vm->nr_invalidating--;
	}
	if (tables)
		take_tables(vm, tables);
	*s = (struct slot){ start, size, r->userspace_addr, r->slot, r->flags, dirty };
	vm->nr_slots = max_t(unsigned, vm->nr_slots, s - vm->slots + 1);
	vm->seq++;
	spin_unlock(&vm->mmu_lock);
	up_write(&vm->copies);
	if (old.dirty != dirty)
		kvfree(old.dirty);
	if (tables)
		free_tables(tables, LEVELS);
	return 0;
}

/* Takes the right to write from the pages of a word of the bitmap. mmu_lock held. */
static void protect(struct vm *vm, u64 gpa, unsigned long pages)
{
	unsigned i;

	for_each_set_bit(i, &pages, BITS_PER_LONG) {
		u64 *entry = entry_at(vm, NULL, gpa + i * PAGE_SIZE, 1, NULL);

		if (entry)
			WRITE_ONCE(*entry, *entry & ~(u64)VMX_EPT_WRITABLE_MASK);
	}
}

/*
 * vm->lock held. What was written since the last call, by the guest or for it: the pages are
 * protected again before they are shown.
 */
int ept_get_dirty(struct vm *vm, const struct kvm_dirty_log *log)
{
	struct slot *s = vm->slots;
	unsigned long *taken;
	size_t i, words;
	int err = 0;

	while (s < vm->slots + SLOTS_MAX && !(s->dirty && s->id == log->slot))
		s++;
	if (s == vm->slots + SLOTS_MAX)
		return -ENOENT;
	words = bitmap_bytes(s->size) / sizeof(long);
	taken = kvzalloc(bitmap_bytes(s->size), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!taken)
		return -ENOMEM;
	for (i = 0; i < words; i++, cond_resched()) {
		if (!READ_ONCE(s->dirty[i]))
			continue;
		spin_lock(&vm->mmu_lock);
		swap(taken[i], s->dirty[i]);
		protect(vm, s->gpa + i * BITS_PER_LONG * PAGE_SIZE, taken[i]);
		spin_unlock(&vm->mmu_lock);
	}
	vmcs_flush_guest(vm);
	if (copy_to_user(log->dirty_bitmap, taken, bitmap_bytes(s->size))) {
		err = -EFAULT; /* it stays as it was */
		spin_lock(&vm->mmu_lock);
		for (i = 0; i < words; i++, cond_resched_lock(&vm->mmu_lock))
			s->dirty[i] |= taken[i];
		spin_unlock(&vm->mmu_lock);
	}
	kvfree(taken);
	return err;
}

int ept_init(struct vm *vm)
{
	spin_lock_init(&vm->mmu_lock);
	init_rwsem(&vm->copies);
	vm->root = new_table();
	if (!vm->root || !zalloc_cpumask_var(&vm->cpus, GFP_KERNEL_ACCOUNT))
		return -ENOMEM;
	vm->mm = current->mm;
	vm->notifier.ops = &notifier_ops;
	return mmu_notifier_register(&vm->notifier, vm->mm);
}

/* No vCPU is left. */
void ept_fini(struct vm *vm)
{
	unsigned i;

	if (vm->notifier.mm) /* it is registered */
		mmu_notifier_unregister(&vm->notifier, vm->mm);
	for (i = 0; i < SLOTS_MAX; i++)
		kvfree(vm->slots[i].dirty);
	if (vm->root)
		free_tables(vm->root, LEVELS);
	free_cpumask_var(vm->cpus);
}
