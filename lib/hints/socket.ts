// Errno hints for Unix sockets that carry fds (unix(7)).
import type { Look } from '../errors/around';
import { noPermission } from './causes/open';
import type { Hints } from './hint';

const holderOf: Look = ({ pid, holder }) => {
  if (pid === 0) return 'a process of another PID namespace listens there';
  if (pid !== undefined) return `process ${String(pid)} listens there`;
  if (holder?.startsWith('user ')) return `it belongs to ${holder}: if nobody listens there any more, remove it`;
  if (holder === 'another process') return 'another process listens there, or is about to';
  return undefined;
};

const gone = 'the peer has closed its end, or its process has ended';

export const socketHints: Hints = {
  connect: {
    ENOENT: 'nobody has made a socket there',
    ECONNREFUSED: 'nobody listens at this socket any more: its file was left behind',
    EACCES: [noPermission, "this user may not write to the socket's file, or not search a folder on the way"],
    EAGAIN: 'as many wait to be let in as the listener allows (backlog): try again',
    EPROTOTYPE: 'the socket is of the other kind: seqpacket, or stream',
    ENOTSOCK: 'the file is no socket',
  },
  bind: {
    EADDRINUSE: [holderOf, 'another process listens there, or a file that is no socket has this name'],
    ENOENT: 'a folder on the way does not exist',
    ENOTDIR: 'a part of the path is not a folder',
    EACCES: 'this user may not make files in that folder',
    EROFS: 'the file system is read-only',
  },
  sendmsg: {
    EPERM: 'the peer takes no file descriptors (SO_PASSRIGHTS)',
    EPIPE: gone,
    ECONNRESET: gone,
    EMSGSIZE: 'the message is larger than the socket takes at once (/proc/sys/net/core/wmem_max)',
    ETOOMANYREFS: 'as many fds are on their way from this user as it may have open: wait until some are received',
    ENOTCONN: 'the socket is not connected',
  },
  setsockopt: { ENOTSOCK: 'the file descriptor is no socket' },
  recvmsg: { ECONNRESET: `${gone}, and has not read all that was sent`, ENOTCONN: 'the socket is not connected' },
  getsockopt: { ENOTSOCK: 'the file descriptor is no socket' },
  pidfd_getfd: {
    EPERM: 'this process may not look into that one: it must be allowed to trace it (ptrace(2), CAP_SYS_PTRACE)',
    ESRCH: 'there is no such process any more',
    EBADF: 'that process has no such file descriptor open',
    ENOSYS: 'this kernel cannot do that: it is there from Linux 5.6 on',
  },
};
