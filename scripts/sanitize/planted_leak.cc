// A leak for LeakSanitizer to find: `npm run test:asan` builds it into the addon once, to prove that it would find
// ours.
#include <cstdlib>

namespace {

__attribute__((noinline)) void PlantLeak() {
  volatile char* block = static_cast<char*>(std::malloc(4321));
  if (block) *block = 1;
}

[[maybe_unused]] const bool planted = (PlantLeak(), true);  // when the addon is loaded

}  // namespace
