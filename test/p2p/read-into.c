// Reads a block of a disk straight into another device's memory, and says what came of it: "ok", "wrong" (it was read,
// and something else is there), or the error's number.
//
//   read-into DISK P2PMEM     P2PMEM: the file p2pmem/allocate of a device that a kernel driver holds
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 4096 };

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int disk = open(argv[1], O_RDONLY | O_DIRECT);
  const int allocate = open(argv[2], O_RDWR);
  if (disk < 0 || allocate < 0) return 3;
  unsigned char* memory = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, allocate, 0);
  if (memory == MAP_FAILED) return 4;
  memset(memory, 0xa5, BLOCK);
  if (pread(disk, memory, BLOCK, 0) != BLOCK) {
    printf("%d\n", errno);
    return 0;
  }
  int wrong = 0;
  for (int i = 0; i < BLOCK; ++i) wrong |= memory[i];  // the disk is empty
  puts(wrong ? "wrong" : "ok");
  return 0;
}
