// Imports a dma-buf into a DRM device (PRIME) and prints 0 or the error's number. Keeps the import until its standard
// input ends.
//
//   prime-import CARD     the dma-buf is fd 3
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct prime_handle {
  uint32_t handle;
  uint32_t flags;
  int32_t fd;
};
#define PRIME_FD_TO_HANDLE _IOWR('d', 0x2e, struct prime_handle)

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int card = open(argv[1], O_RDWR);
  if (card < 0) return 3;
  struct prime_handle import = {.fd = 3};
  printf("%d\n", ioctl(card, PRIME_FD_TO_HANDLE, &import) == 0 ? 0 : errno);
  fflush(stdout);
  char end;
  return read(STDIN_FILENO, &end, 1) == 0 ? 0 : 4;
}
