#include "fake/intel_iommu.h"

namespace fake {

int IntelIommu::AllocatePaging(Aperture* aperture) const {
  *aperture = {.first = 0, .last = limits_.last_iova, .page_size = limits_.alignment};
  return 0;
}

}  // namespace fake
