// hotpath._venue.VenueDay: a venue's day read from its file, while another process writes it or after.
#include "venue/bind_common.h"
#include "venue/day.h"

using namespace peregrine::venue;
using namespace peregrine::venue::bind;
using peregrine::u32;
using peregrine::u64;

namespace {

PortIx port_of(const DayFollower& f, const std::string& user) {
  const int port = f.day().exchange().port_of(user);
  if (port < 0) throw py::key_error("the venue has no account \"" + user + "\"");
  return static_cast<PortIx>(port);
}

}  // namespace

void bind_day(py::module_& m) {
  py::class_<DayFollower>(m, "VenueDay", "The exchange rebuilt from the file of a venue's day (`VenueServer`'s `state`).")
      .def(py::init([](const py::dict& config) {
             ServerConfig c = server_config(config);
             return std::make_unique<DayFollower>(day_config(c), c.state);
           }),
           py::arg("config"), "`config` as the venue's; ValueError or RuntimeError when the file is not that venue's day.")
      .def("catch_up", &DayFollower::catch_up, py::call_guard<py::gil_scoped_release>(), py::arg("limit") = ~u64{0},
           "Applies the records that are new; how many.")
      .def_property_readonly("offset", [](const DayFollower& f) { return f.reader().offset(); }, "Bytes applied.")
      .def_property_readonly("torn_bytes", [](const DayFollower& f) { return f.reader().torn_bytes(); })
      .def_property_readonly("session", [](const DayFollower& f) { return f.opening().session; })
      .def_property_readonly("last_ns", [](const DayFollower& f) { return f.day().last_ns(); })
      .def("state_hash", [](const DayFollower& f) { return f.day().exchange().state_hash(); })
      .def(
          "record",
          [](const DayFollower& f, std::size_t from) {
            const std::vector<RecordEntry>& all = f.day().exchange().record();
            return record_list({all.begin() + static_cast<std::ptrdiff_t>(std::min(from, all.size())), all.end()});
          },
          py::arg("from_entry") = 0, "The venue's own record of every order event.")
      .def(
          "summary",
          [](const DayFollower& f, const std::string& user) {
            return summary_dict(f.day().exchange().summary(port_of(f, user)));
          },
          py::arg("user"))
      .def(
          "ouch_messages",
          [](const DayFollower& f, const std::string& user, u64 from) {
            return messages(f.day().exchange().port_store(port_of(f, user)), from);
          },
          py::arg("user"), py::arg("from_seq") = 1, "Every sequenced message of an account.")
      .def(
          "itch_messages", [](const DayFollower& f, u64 from) { return messages(f.day().exchange().itch_store(), from); },
          py::arg("from_seq") = 1);
}
