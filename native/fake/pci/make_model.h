// Makes the model of a device by its name.
#pragma once

#include <memory>
#include <string>

#include "fake/models/model.h"

namespace fake {

// nullptr: no such model. The serial number is one that no other device of the machine has. The ports outlive the
// model.
std::unique_ptr<Model> MakeModel(const std::string& name, const std::string& serial, DmaPort& port,
                                 InterruptPort& interrupts);

}  // namespace fake
