// Makes one request on the iommufd that it inherits as fd 3: what CONFIG_IOMMUFD_TEST answers, and the library does not
// ask. Prints the result (0 or a negated errno) and the struct as the kernel left it.
//
//   mock-device STRUCT [BITMAP]     both in hexadecimal; the bitmap's address goes to byte 48 of the struct
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum { SIZE = 72, BITMAP_AT = 48, LARGEST_BITMAP = 1 << 16 };

static size_t parse(const char *text, uint8_t *bytes, size_t room) {
  size_t count = 0;
  for (unsigned byte = 0; count < room && sscanf(text + 2 * count, "%2x", &byte) == 1; ++count) {
    bytes[count] = (uint8_t)byte;
  }
  return count;
}

int main(int argc, char **argv) {
  static _Alignas(8) uint8_t command[SIZE];
  static _Alignas(8) uint8_t bitmap[LARGEST_BITMAP];
  if (argc < 2 || parse(argv[1], command, SIZE) != SIZE) return 2;
  if (argc > 2) {
    parse(argv[2], bitmap, sizeof(bitmap));
    const uint64_t address = (uintptr_t)bitmap;
    memcpy(command + BITMAP_AT, &address, sizeof(address));
  }
  const int result = ioctl(3, _IO(';', 0xa0), command) < 0 ? -errno : 0;
  printf("%d ", result);
  for (int i = 0; i < SIZE; ++i) printf("%02x", command[i]);
  return 0;
}
