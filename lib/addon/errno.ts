// The kernel's errno names. Node's table (os.constants.errno) has the POSIX errnos and some of Linux's. Drivers often
// return others.
import { constants } from 'node:os';

// The names of asm-generic/errno-base.h and errno.h. The index of a name is its number; '-' marks unused numbers.
// Aliases use the first name: EAGAIN for EWOULDBLOCK, EDEADLK for EDEADLOCK, and EOPNOTSUPP for the C library's
// ENOTSUP.
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

// x86, ARM, RISC-V, LoongArch, s390 and POWER use these numbers (except EDEADLOCK, which is 58 on POWER). MIPS, SPARC,
// Alpha and PA-RISC have other numbers from 35 on, which ENOTEMPTY detects; on these, Node's names are used.
const isGeneric = constants.errno.ENOTEMPTY === generic.indexOf('ENOTEMPTY') + 1;
const nodes = Object.entries(constants.errno).filter(([name]) => name !== 'EWOULDBLOCK' && name !== 'ENOTSUP');
const names = isGeneric
  ? new Map(generic.map((name, i) => [i + 1, name]))
  : new Map(nodes.map(([name, number]) => [number, name]));

/** Returns the name of a positive errno, for example 'EOPNOTSUPP' for 95, or 'E524' if it has no name. @internal */
export function errnoName(errno: number): string {
  const name = names.get(errno);
  return name === undefined || name === '-' ? `E${String(errno)}` : name;
}
