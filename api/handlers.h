/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handlers of requests, one a row of the table in routes.c, and what they have of each other.
 */
#ifndef API_HANDLERS_H
#define API_HANDLERS_H

#include "call.h"

/* answers.c */
int get_instance(struct call *c);
int get_version(struct call *c);
int get_config(struct call *c);
int get_machine(struct call *c);
int get_metrics(struct call *c);
int get_events(struct call *c);

/* setup.c */
extern const struct machine_body machine_default;
int put_machine(struct call *c);
int patch_machine(struct call *c);
int put_boot(struct call *c);
int put_serial(struct call *c);
int put_logger(struct call *c);
int put_metrics(struct call *c);
/*
 * The command line that a boot source comes to, with `root` behind the kernel's words and before
 * init's; its bytes. What is left out of it is logged.
 */
size_t setup_cmdline(struct vm_config *config, const struct boot_body *boot, const char *root);

/* devices.c */
int put_drive(struct call *c);
int patch_drive(struct call *c);
int put_net(struct call *c);
int patch_net(struct call *c);
void devices_fill(struct vm_config *config, const struct api *api);
struct token_bucket devices_bucket(const struct bucket_body *b);
/* Closes what is held for them. */
void devices_let_go(struct api *api);

/* start.c */
int put_action(struct call *c);
int patch_vm(struct call *c);
int start_microvm(struct call *c);
/* Goes on from a snapshot, whose state lies in the first file at `at`. */
int restore_microvm(struct call *c, const struct restore_config *from);

/* snapshot.c */
int put_snapshot_create(struct call *c);
int put_snapshot_load(struct call *c);

/* routes.c: machine, drives and interfaces out of c->json, as a config file has them. */
int take_machine(struct call *c);

#endif
