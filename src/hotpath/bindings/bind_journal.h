// Shared by the files that bind journal/.
#pragma once

#include <pybind11/pybind11.h>

#include <string_view>

#include "journal/error.h"

namespace bind {

// Raises hotpath._core.journal.JournalError with fault, code, file, offset, expected, found and hint as attributes.
[[noreturn]] void raise(const peregrine::journal::JournalError& error);
pybind11::dict to_dict(const peregrine::journal::JournalError& error);

inline peregrine::Bytes view(std::string_view s) {
  return {reinterpret_cast<const peregrine::u8*>(s.data()), s.size()};
}
inline pybind11::bytes to_bytes(peregrine::Bytes b) {
  return pybind11::bytes(reinterpret_cast<const char*>(b.data()), b.size());
}

void bind_journal_write(pybind11::module_& m);
void bind_journal_read(pybind11::module_& m);

}  // namespace bind
