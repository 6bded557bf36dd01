// What does one record in the journal cost the hot thread: header, CRC-32C, shared memory? Twin: memcpy of the same
// bytes into a buffer as large as the ring.
#include <unistd.h>

#include "harness.h"
#include "journal/appender.h"

using namespace peregrine;
using namespace peregrine::bench;

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  journal::RingOptions options;
  options.name = "peregrine-bench-" + std::to_string(::getpid());
  options.journal_dir = b.options().dir;
  options.ring_bytes = 64u << 20;
  journal::JournalError error;
  const std::unique_ptr<journal::Appender> appender = journal::Appender::create(options, 0, error);
  if (appender == nullptr) fail(error.text());
  const u64 ring_bytes = appender->ring()->bytes();

  u8 message[36] = {'A'};
  journal::FeedHead head{1, 0, {}};
  constexpr u64 kBatch = 256;
  std::vector<u8> buffer(ring_bytes);
  std::memset(buffer.data(), 1, buffer.size());
  u64 position = 0, record_bytes = 0;
  Figure figure, twin;
  const auto bytes_of_head = Bytes(reinterpret_cast<const u8*>(&head), sizeof head);
  b.in_turn(
      kBatch,
      [&] {
        const u64 before = appender->ring()->header().head.load();
        for (u64 i = 0; i < kBatch; ++i) {
          ++head.feed_seq;
          if (appender->append(journal::RecordType::kFeed, static_cast<i64>(head.feed_seq), bytes_of_head,
                               Bytes(message, sizeof message)) == 0) {
            fail("the ring is full");
          }
        }
        // The writer's part: what is there counts as written.
        journal::RingHeader& h = appender->ring()->header();
        record_bytes = (h.head.load() - before) / kBatch;
        h.tail.store(h.head.load());
      },
      [&] {
        for (u64 i = 0; i < kBatch; ++i) {
          u8* p = buffer.data() + position;
          keep(message);
          std::memcpy(p, &head, sizeof head);
          std::memcpy(p + sizeof head, message, sizeof message);
          keep(*p);
          position = position + record_bytes + 128 > ring_bytes ? 0 : position + record_bytes;
        }
      },
      figure, twin);
  appender->ring()->remove();
  b.report("journal_append", figure, "memcpy of the same bytes", twin,
           "\"record_bytes\": " + std::to_string(record_bytes) + ", \"ring_bytes\": " + std::to_string(ring_bytes));
}
