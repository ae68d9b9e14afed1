// A device copies memory of the kinds that programs have.
#include "vfio.h"

static void Try(const Engine& engine, const char* kind, void* memory, std::size_t length) {
  constexpr uint64_t kIova = 0x100000;
  auto* bytes = static_cast<char*>(memory);
  std::strcpy(bytes, kind);
  CHECK(Map(engine, memory, length, kIova) == 0);
  Copy(engine, kIova, kIova + 2048, 64);
  CHECK(std::strcmp(bytes + 2048, kind) == 0);
  uapi::iommu_ioas_unmap unmap = {};
  unmap.size = sizeof(unmap);
  unmap.ioas_id = engine.ioas;
  unmap.iova = kIova;
  unmap.length = length;
  CHECK(ioctl(engine.iommufd, uapi::IOMMU_IOAS_UNMAP, &unmap) == 0);
  std::printf("%s\n", kind);
}

int main() {
  const Engine engine = OpenEngine();
  constexpr std::size_t kLength = 1 << 16;
  Try(engine, "shared", mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), kLength);
  Try(engine, "private", mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), kLength);
  Try(engine, "heap", aligned_alloc(4096, kLength), kLength);
  alignas(4096) static char in_data[4096];
  Try(engine, "data", in_data, sizeof(in_data));
  alignas(4096) char on_stack[4096];
  Try(engine, "stack", on_stack, sizeof(on_stack));
  const int file = open("/proc/self/exe", O_RDONLY);
  Try(engine, "file, private", mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0), 4096);
  // Memory that is not there, and memory that cannot be written.
  CHECK(Map(engine, reinterpret_cast<void*>(0x10000), 4096, 0) == EFAULT);
  void* constant = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(Map(engine, constant, 4096, 0) == EFAULT);
  // A BAR is not memory.
  CHECK(Map(engine, const_cast<uint8_t*>(engine.registers), 4096, 0) == EFAULT);
  // A part of a huge page, where this host has some.
  constexpr std::size_t kHuge = 2 << 20;
  void* huge = mmap(nullptr, kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (huge != MAP_FAILED) Try(engine, "huge, private", static_cast<char*>(huge) + 4096, kLength);
  huge = mmap(nullptr, kHuge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (huge != MAP_FAILED) Try(engine, "huge, shared", static_cast<char*>(huge) + 4096, kLength);
}
