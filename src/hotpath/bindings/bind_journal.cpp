// Python view of journal/: errors, record types, versions; appending in bind_journal_write.cpp, reading in
// bind_journal_read.cpp.
#include "bind_journal.h"

#include <pybind11/native_enum.h>

#include "core/crc32c.h"
#include "journal/record.h"
#include "journal/version.h"

namespace py = pybind11;
using namespace peregrine;
using namespace peregrine::journal;

namespace bind {
namespace {

PyObject* g_error = nullptr;

}  // namespace

py::dict to_dict(const JournalError& e) {
  py::dict d;
  d["fault"] = fault_name(e.fault);
  d["code"] = e.code;
  d["file"] = e.file;
  d["offset"] = e.offset;
  d["expected"] = e.expected;
  d["found"] = e.found;
  d["hint"] = e.hint;
  return d;
}

void raise(const JournalError& e) {
  py::object instance = py::reinterpret_borrow<py::object>(g_error)(e.text());
  for (auto item : to_dict(e)) instance.attr(item.first.cast<std::string>().c_str()) = item.second;
  PyErr_SetObject(g_error, instance.ptr());
  throw py::error_already_set();
}

}  // namespace bind

void bind_journal(py::module_& core) {
  py::module_ m = core.def_submodule("journal", "Append, write, read, recover and snapshot the journal");
  bind::g_error = PyErr_NewExceptionWithDoc(
      "hotpath._core.journal.JournalError",
      "What went wrong with a journal: .fault (its name), .code (errno), .file, .offset, .expected, .found, .hint",
      PyExc_RuntimeError, nullptr);
  m.attr("JournalError") = py::reinterpret_borrow<py::object>(bind::g_error);
  m.attr("FORMAT_VERSION") = kFormatVersion;
  m.attr("OLDEST_READABLE_FORMAT") = kOldestReadableFormat;
  m.attr("SEMANTICS_VERSION") = kSemanticsVersion;
  py::native_enum<RecordType>(m, "RecordType", "enum.IntEnum", "Type of a journal record")
      .value("PADDING", RecordType::kPadding)
      .value("HEADER", RecordType::kHeader)
      .value("TRAILER", RecordType::kTrailer)
      .value("FEED", RecordType::kFeed)
      .value("SNAPSHOT", RecordType::kSnapshot)
      .value("FEED_STATE", RecordType::kFeedState)
      .value("SESSION", RecordType::kSession)
      .value("SESSION_STATE", RecordType::kSessionState)
      .value("COMMAND", RecordType::kCommand)
      .value("TIMER", RecordType::kTimer)
      .value("CONTROL", RecordType::kControl)
      .value("DEVICE", RecordType::kDevice)
      .value("SIGNAL", RecordType::kSignal)
      .value("SEND_RESULT", RecordType::kSendResult)
      .value("RECOVERED", RecordType::kRecovered)
      .value("FEED_REF", RecordType::kFeedRef)
      .value("INTENT", RecordType::kIntent)
      .value("DECISION", RecordType::kDecision)
      .value("STATE_HASH", RecordType::kStateHash)
      .finalize();
  m.def(
      "crc32c", [](std::string_view data, u32 crc) { return crc32c(crc, data.data(), data.size()); }, py::arg("data"),
      py::arg("crc") = 0, "CRC-32C (Castagnoli) of bytes, continuing `crc`");
  bind::bind_journal_write(m);
  bind::bind_journal_read(m);
}
