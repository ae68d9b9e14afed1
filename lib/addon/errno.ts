// The kernel's names for its errnos. Node's own table (os.constants.errno) has those that POSIX knows and some of Linux's;
// what drivers answer is often none of them.
import { constants } from 'node:os';

// asm-generic/errno-base.h and errno.h: the name's place is its number, '-' where there is none. Where two names share
// a number it is the first one: EAGAIN is EWOULDBLOCK too, EDEADLK is EDEADLOCK, and EOPNOTSUPP is the C library's ENOTSUP.
const generic = `
  EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD
  EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR
  EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS
  EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP
  - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI
  EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR
  ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM
  EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD
  ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
  EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN
  ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT
  ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM
  EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
  ENOTRECOVERABLE ERFKILL EHWPOISON EFTYPE
`
  .trim()
  .split(/\s+/);

// x86, ARM, RISC-V, LoongArch, s390 and POWER use these numbers (but for EDEADLOCK, which is 58 on POWER). MIPS, SPARC,
// Alpha and PA-RISC have their own from 35 on, which ENOTEMPTY shows; there Node's names must do.
const isGeneric = constants.errno.ENOTEMPTY === generic.indexOf('ENOTEMPTY') + 1;
const nodes = Object.entries(constants.errno).filter(([name]) => name !== 'EWOULDBLOCK' && name !== 'ENOTSUP');
const names = isGeneric
  ? new Map(generic.map((name, i) => [i + 1, name]))
  : new Map(nodes.map(([name, number]) => [number, name]));

/** The name of a positive errno: 'EOPNOTSUPP' for 95; 'E524' for one that has none. @internal */
export function errnoName(errno: number): string {
  const name = names.get(errno);
  return name === undefined || name === '-' ? `E${String(errno)}` : name;
}
