// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts in and kicks out, without user space in between. An irqfd is a place in an eventfd's
 * wait queue: a write to the eventfd looks up the GSI's route and sets the vector in the IRR, in
 * the writer's own context. An ioeventfd is a row of a list that a port or memory write is compared
 * with. Both hold their eventfd until they are taken back or the VM ends.
 */
#include "mayfly.h"
#include "compat.h"

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

struct irqfd {
	struct list_head list;
	struct vm *vm;
	u32 gsi;
	struct eventfd_ctx *eventfd;
	wait_queue_entry_t wait;
	poll_table table;
};

struct ioeventfd {
	struct list_head list;
	bool is_port, has_match;
	u64 address, match;
	u32 length; /* 0: any */
	struct eventfd_ctx *eventfd;
};

static void deliver(struct vm *vm, u32 gsi)
{
	unsigned long flags;

	spin_lock_irqsave(&vm->irq_lock, flags);
	if (vm->routes[gsi].is_used)
		lapic_deliver_msi(vm, vm->routes[gsi].address, vm->routes[gsi].data);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
}

static int read_route(struct route *table, const struct kvm_irq_routing_entry *e)
{
	const u32 gsi = array_index_nospec(e->gsi, GSI_MAX); /* CVE-2017-5753 */

	if (e->gsi >= GSI_MAX || e->type != KVM_IRQ_ROUTING_MSI || e->flags)
		return -EINVAL;
	if (e->u.msi.address_hi || table[gsi].is_used)
		return -EINVAL;
	table[gsi] = (struct route){ .is_used = true,
				     .address = e->u.msi.address_lo,
				     .data = e->u.msi.data };
	return 0;
}

/* vm->lock held. The new table in place of the old one, or an error and the old one. */
int irq_set_routes(struct vm *vm, const struct kvm_irq_routing __user *arg)
{
	struct route table[GSI_MAX] = {};
	struct kvm_irq_routing_entry *e;
	struct kvm_irq_routing head;
	unsigned long flags;
	int err = 0;
	u32 i;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.nr > GSI_MAX || head.flags || !vm->is_split)
		return -EINVAL;
	e = memdup_user(arg->entries, head.nr * sizeof(*e));
	if (IS_ERR(e))
		return PTR_ERR(e);
	for (i = 0; i < head.nr && !err; i++)
		err = read_route(table, &e[i]);
	if (!err) {
		spin_lock_irqsave(&vm->irq_lock, flags);
		memcpy(vm->routes, table, sizeof(vm->routes));
		spin_unlock_irqrestore(&vm->irq_lock, flags);
	}
	kfree(e);
	return err;
}

/* The eventfd was written: its lock is held, interrupts are off. */
static int on_signal(wait_queue_entry_t *wait, unsigned mode, int sync, void *key)
{
	struct irqfd *irqfd = container_of(wait, struct irqfd, wait);
	u64 count;

	if (!(key_to_poll(key) & EPOLLIN))
		return 0; /* also when the last descriptor is closed: nobody writes any more */
	eventfd_ctx_do_read(irqfd->eventfd, &count);
	deliver(irqfd->vm, irqfd->gsi);
	return 1;
}

static void on_poll(struct file *file, wait_queue_head_t *queue, poll_table *table)
{
	struct irqfd *irqfd = container_of(table, struct irqfd, table);

	add_wait_queue_priority(queue, &irqfd->wait);
}

static void irqfd_free(struct irqfd *irqfd)
{
	u64 count;

	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	eventfd_ctx_put(irqfd->eventfd);
	list_del(&irqfd->list);
	kfree(irqfd);
}

static int irqfd_assign(struct vm *vm, struct file *file, struct eventfd_ctx *eventfd, u32 gsi)
{
	struct irqfd *irqfd;

	list_for_each_entry(irqfd, &vm->irqfds, list)
		if (irqfd->eventfd == eventfd)
			return -EBUSY;
	if (vm->nr_irqfds >= IRQFDS_MAX)
		return -ENOSPC;
	irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	if (!irqfd)
		return -ENOMEM;
	irqfd->vm = vm;
	irqfd->gsi = gsi;
	irqfd->eventfd = eventfd;
	init_waitqueue_func_entry(&irqfd->wait, on_signal);
	init_poll_funcptr(&irqfd->table, on_poll);
	list_add(&irqfd->list, &vm->irqfds);
	vm->nr_irqfds++;
	/* It may have been written before: that counts, too. */
	if (vfs_poll(file, &irqfd->table) & EPOLLIN)
		deliver(vm, gsi);
	return 0;
}

static int irqfd_deassign(struct vm *vm, const struct eventfd_ctx *eventfd, u32 gsi)
{
	struct irqfd *irqfd, *next;

	list_for_each_entry_safe(irqfd, next, &vm->irqfds, list) {
		if (irqfd->eventfd == eventfd && irqfd->gsi == gsi) {
			irqfd_free(irqfd);
			vm->nr_irqfds--;
		}
	}
	return 0;
}

/* vm->lock held. */
int irq_irqfd(struct vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *eventfd;
	struct file *file;
	int err;

	if (args->flags & ~KVM_IRQFD_FLAG_DEASSIGN || args->gsi >= GSI_MAX || !vm->is_split)
		return -EINVAL;
	file = eventfd_fget(args->fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	eventfd = eventfd_ctx_fileget(file);
	if (args->flags & KVM_IRQFD_FLAG_DEASSIGN)
		err = irqfd_deassign(vm, eventfd, args->gsi);
	else
		err = irqfd_assign(vm, file, eventfd, args->gsi);
	if (err || args->flags & KVM_IRQFD_FLAG_DEASSIGN)
		eventfd_ctx_put(eventfd);
	fput(file);
	return err;
}

/* On a vCPU's thread. Whether the write was a kick, and so is done. Length 0: of any, not known. */
bool irq_kick(struct vm *vm, bool is_port, u64 address, unsigned length, u64 value)
{
	const struct ioeventfd *io;
	bool is_kick = false;

	rcu_read_lock();
	list_for_each_entry_rcu(io, &vm->ioeventfds[is_port], list) {
		is_kick = io->address == address && (!io->length || io->length == length) &&
			  (!io->has_match || io->match == value);
		if (is_kick) {
			eventfd_kick(io->eventfd);
			break;
		}
	}
	rcu_read_unlock();
	return is_kick;
}

static bool is_ioeventfd(const struct kvm_ioeventfd *a)
{
	const u32 flags =
		KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN;
	const bool has_match = a->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	if (a->flags & ~flags || a->addr + a->len < a->addr)
		return false;
	if (a->len > 8 || (a->len & (a->len - 1)) || (!a->len && has_match))
		return false;
	if (a->flags & KVM_IOEVENTFD_FLAG_PIO && (a->len == 8 || a->addr + a->len > 0x10000))
		return false;
	return !has_match || a->len == 8 || !(a->datamatch >> 8 * a->len);
}

static void ioeventfd_free(struct ioeventfd *io)
{
	eventfd_ctx_put(io->eventfd);
	kfree(io);
}

/* Whether both would answer the same write. */
static bool clash(const struct ioeventfd *a, const struct ioeventfd *b)
{
	return a->address == b->address && (!a->length || !b->length || a->length == b->length) &&
	       (!a->has_match || !b->has_match || a->match == b->match);
}

static int ioeventfd_assign(struct vm *vm, const struct ioeventfd *new)
{
	struct ioeventfd *io, *copy;

	if (vm->nr_ioeventfds >= IOEVENTFDS_MAX)
		return -ENOSPC;
	list_for_each_entry(io, &vm->ioeventfds[new->is_port], list)
		if (clash(io, new))
			return -EEXIST;
	copy = kmemdup(new, sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!copy)
		return -ENOMEM;
	list_add_tail_rcu(&copy->list, &vm->ioeventfds[new->is_port]);
	vm->nr_ioeventfds++;
	return 0;
}

static int ioeventfd_deassign(struct vm *vm, const struct ioeventfd *old)
{
	struct ioeventfd *io;

	list_for_each_entry(io, &vm->ioeventfds[old->is_port], list) {
		if (io->eventfd != old->eventfd || io->address != old->address ||
		    io->length != old->length || io->has_match != old->has_match ||
		    io->match != old->match)
			continue;
		list_del_rcu(&io->list);
		synchronize_rcu(); /* no vCPU signals it any more */
		vm->nr_ioeventfds--;
		ioeventfd_free(io);
		return 0;
	}
	return -ENOENT;
}

/* vm->lock held. */
int irq_ioeventfd(struct vm *vm, const struct kvm_ioeventfd *args)
{
	const bool deassign = args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN;
	struct ioeventfd io = { .is_port = args->flags & KVM_IOEVENTFD_FLAG_PIO,
				.has_match = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH,
				.address = args->addr,
				.length = args->len };
	int err;

	if (!is_ioeventfd(args))
		return -EINVAL;
	io.match = io.has_match ? args->datamatch : 0;
	io.eventfd = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(io.eventfd))
		return PTR_ERR(io.eventfd);
	err = deassign ? ioeventfd_deassign(vm, &io) : ioeventfd_assign(vm, &io);
	if (deassign || err)
		eventfd_ctx_put(io.eventfd);
	return err;
}

/* Nobody else has the VM any more. */
void irq_fini(struct vm *vm)
{
	struct irqfd *irqfd, *next_irqfd;
	struct ioeventfd *io, *next_io;
	unsigned i;

	list_for_each_entry_safe(irqfd, next_irqfd, &vm->irqfds, list)
		irqfd_free(irqfd);
	for (i = 0; i < ARRAY_SIZE(vm->ioeventfds); i++)
		list_for_each_entry_safe(io, next_io, &vm->ioeventfds[i], list)
			ioeventfd_free(io);
}
