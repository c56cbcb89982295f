/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sock_ops TCP_LISTEN_CB              a server on a port that nobody asked for by number
 * lsm/socket_bind, sctp_bind_connect  SCTP, which has a bind of its own
 * lsm/socket_listen                   refuses listen() without bind()
 * fexit of each get_port()            a bind that failed because the port is taken
 * tracepoint/sys_exit_bind            the same where fexit is not to be had
 *
 * None of them sees a bind that the bind hooks count, but to judge it again. A file of its own, so
 * that it compiles beside theirs.
 */
#include "collide.h"
#include "listen.h"
#include "lsm.h"

#ifdef HAVE_KERNEL_TYPES

/* The portable sight of listen() without bind(), and of servers on picked ports. */
int listen(struct bpf_sock_ops *context)
{
	return context->op == BPF_SOCK_OPS_TCP_LISTEN_CB ? starts_to_listen(context) : PROCEED;
}

#ifdef HAVE_LSM

/* (struct socket *, struct sockaddr *, int) */
int socket_bind(u64 *context)
{
	u64 socket = kernel_address((void *)context[0]),
	    address = kernel_address((void *)context[1]);

	return before_sctp_bind(socket, address, (int)context[2]);
}

/* (struct sock *, int option, struct sockaddr *, int): bindx() never comes by socket_bind. */
int sctp_bind_connect(u64 *context)
{
	u64 sock = kernel_address((void *)context[0]),
	    addresses = kernel_address((void *)context[2]);

	return before_sctp_bindx(sock, (int)context[1], addresses, (int)context[3]);
}

/* (struct socket *, int backlog) */
int socket_listen(u64 *context)
{
	void *sock = *(void **)((char *)context[0] + OFFSET_SOCKET_SK);

	if (!sock)
		return 0;
	return before_listen(kernel_address(sock), bpf_sk_storage_get(MAP(marks), sock, 0, 0));
}

#endif

#ifdef HAVE_FUNCTION_EXIT
/* (struct sock *, unsigned short port) and its result: loaded once for each protocol's. */
int get_port(u64 *context)
{
	return port_refused(kernel_address((void *)context[0]), context[1], context[2]);
}
#endif

#ifdef HAVE_ONLY_SYS_EXIT
int sys_exit_bind(struct sys_exit *context)
{
	return bind_ended(context);
}
#endif
#endif
