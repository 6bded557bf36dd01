"""The configuration as strict models, a class a section. Integers throughout; a name ends in its unit.

Units: ticks and lots are the instrument's own; `units` are money units, `account.units_per_currency` to one
unit of the account's currency (10,000 = a hundredth of a cent for dollars); times are nanoseconds unless the
name says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.config.base import Address, Core, EnvName, Fee, NotNegative, Positive, Section, Symbol
from orchestrator.config.models_day import Day
from orchestrator.config.models_operate import Control, Observe, Supervise


class Instrument(Section):
    """One tradable symbol and its arithmetic: money = price_ticks · qty_lots · multiplier >> shift."""

    symbol: Symbol = Field(description="the venue's symbol, 1 to 8 characters")
    increment_ticks: Positive = Field(default=100, description="smallest price step the venue takes, in ticks")
    round_lot_lots: Positive = Field(default=100, description="size of a round lot")
    multiplier: Positive = Field(default=1, description="money units of one tick and one lot, before the shift")
    shift: int = Field(default=0, ge=0, le=62, description="binary places the product is shifted right, against us")
    load: int = Field(
        default=1, ge=1, le=10**12, description="expected work beside the other symbols, for `engine.assignment: by_load`"
    )


class Account(Section):
    """Whose money it is and what a trade costs."""

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3,5}$", description="currency the account is kept in")
    units_per_currency: Positive = Field(default=10_000, description="money units to one unit of the currency")
    taker_fee_units_per_lot: Fee = Field(default=30, description="fee of an execution that removed liquidity")
    maker_fee_units_per_lot: Fee = Field(default=-20, description="fee of an execution that added it; negative: rebate")
    start_position_lots: dict[str, int] = Field(default={}, description="position carried in, by symbol")
    start_cost_units: dict[str, int] = Field(
        default={}, description="what that position counts as having cost, by symbol; negative for a short one; none: nothing"
    )


class EmbeddedVenue(Section):
    """The simulated exchange shipped with Peregrine, started beside the engine as its own process."""

    kind: Literal["embedded"]
    seed: NotNegative = Field(default=7, description="seed of the order flow: the same seed gives the same market")
    rate_per_s: Positive = Field(default=2_000, description="mean number of flow events a second and symbol")
    symbols: list[Symbol] = Field(default=[], description="symbols the venue lists; empty: the configured instruments")
    extra_symbols: int = Field(
        default=0, ge=0, le=8192, description="made-up symbols X0001, X0002 … it lists besides, on the same feed"
    )
    orders_per_symbol: int = Field(
        default=340, ge=4, le=10_000, description="resting orders its flow keeps about on each symbol"
    )
    username: Literal["DEMO01", "DEMO02"] = Field(
        default="DEMO01", description="demo account to trade with; its password is public and known to the engine"
    )
    cancel_on_disconnect: bool = Field(default=True, description="venue cancels our orders when the session drops")
    holdings: str | None = Field(
        default=None, description="file of what the accounts hold: told on the drop copy at the start, replaced at the end"
    )
    flow_file: str | None = Field(default=None, description="recorded ITCH file to play instead of generated flow")
    faults: str = Field(
        default="", description="faults to inject, as `peregrine venue --fault` takes them: loss=1%,reorder=0.5%"
    )


class Credentials(Section):
    """Login at an external venue. The password itself never stands in a configuration."""

    username: str = Field(min_length=1, max_length=6, description="account name at the venue")
    password_env: EnvName | None = Field(default=None, description="environment variable that holds the password")
    password_file: str | None = Field(default=None, description="file that holds the password, first line")
    session: str = Field(default="", max_length=10, description="session id to log in to; empty: the current one")
    firm: str = Field(default="", max_length=4, description="firm id on orders; empty: the account's default")


class ShardLogin(Section):
    """Login of one further shard: each has an order-entry port of its own."""

    username: str = Field(min_length=1, max_length=6, description="account name of this port")
    password_env: EnvName | None = Field(default=None, description="environment variable that holds the password")
    password_file: str | None = Field(default=None, description="file that holds the password, first line")
    ouch: Address | None = Field(default=None, description="order entry of this port; none: venue.ouch")


class ExternalVenue(Section):
    """Any other ITCH 5.0 / OUCH 5.0 venue."""

    kind: Literal["external"]
    ouch: Address = Field(description="order entry, SoupBinTCP, host:port")
    itch_a: Address = Field(description="feed line A, MoldUDP64, group-or-host:port")
    itch_b: Address | None = Field(default=None, description="feed line B; none: one line only")
    retransmit: Address | None = Field(
        default=None, description="MoldUDP64 re-request server; none: gaps go to glimpse"
    )
    glimpse: Address | None = Field(
        default=None, description="snapshot service; needed for a late join and after a gap"
    )
    interface: str | None = Field(default=None, description="address of the interface that joins the multicast groups")
    account: Credentials = Field(description="login of the order session")
    shard_logins: list[ShardLogin] = Field(
        default=[], max_length=15, description="logins of the second and further shards, in order"
    )
    cancel_on_disconnect: bool = Field(description="how the venue has set this port: cancel when the session drops")
    mass_cancel: bool = Field(default=True, description="venue answers the mass cancel message")


Venue = Annotated[EmbeddedVenue | ExternalVenue, Field(discriminator="kind")]


class Feed(Section):
    """How the feed is joined, and when it counts as late, gapped or silent."""

    join: Literal["first", "snapshot", "here"] = Field(
        default="snapshot", description="from message 1 by re-request, by a snapshot, or from the first packet on"
    )
    window_messages: Positive = Field(default=65_536, description="messages kept past a hole")
    arbitration_wait_ns: NotNegative = Field(
        default=2_000_000, description="wait for the slower line before a hole is declared"
    )
    request_timeout_ns: Positive = Field(default=100_000_000, description="wait for an answer to one re-request")
    request_retries: int = Field(default=5, ge=0, le=1000, description="re-requests without progress before a rebuild")
    max_request_messages: int = Field(default=1024, ge=1, le=65535, description="messages asked for at once")
    snapshot_timeout_ns: Positive = Field(
        default=10_000_000_000, description="snapshot service silent this long: the attempt has failed"
    )
    snapshot_retry_ns: Positive = Field(default=1_000_000_000, description="wait before the next attempt")
    snapshot_retries: NotNegative = Field(default=0, description="attempts before giving up; 0 = never")
    silence_ns: Positive = Field(
        default=3_000_000_000, description="no packet on any line, not even a heartbeat: books are stale"
    )


class PolicySlot(Section):
    """One learned policy and what its vote is worth."""

    file: str = Field(min_length=1, description="artifact to load; `builtin:default` is the shipped one")
    slot: int = Field(ge=0, le=7, description="place in the set, 0 to 7")
    weight: int = Field(default=1, ge=-32768, le=32767, description="weight of its vote")
    role: Literal["trader", "risk"] = Field(default="trader", description="a risk policy may veto")
    veto_actions: list[Annotated[int, Field(ge=0, le=15)]] = Field(
        default=[], description="its argmax here forces `forced_action`"
    )
    forced_action: int = Field(default=0, ge=0, le=15, description="action a veto forces; 0 is hold in the default map")


class Policies(Section):
    """Who decides, how votes are counted, and how often."""

    members: list[PolicySlot] = Field(min_length=1, max_length=8, description="the policies, up to 8")
    placement: Literal["cpu", "device", "auto"] = Field(
        default="cpu", description="who computes: the engine's own kernels, the device of `device`, or whichever answers sooner here"
    )
    quorum_q8: int = Field(default=128, ge=0, le=256, description="share of the valid weight an action needs, of 256")
    decision_interval_ns: NotNegative = Field(
        default=1_000_000, description="shortest time between two decisions on a symbol"
    )
    feature_bucket_shifts: list[Annotated[int, Field(ge=10, le=40)]] = Field(
        default=[24, 27, 30],
        min_length=3,
        max_length=3,
        description="buckets of the fast, medium and slow window, as powers of two of nanoseconds; 8 buckets a window",
    )
    signal: Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")] | None = Field(
        None, description="your own numba @cfunc signal, `module:function`; needs the [signals] extra"
    )


class Device(Section):
    """The device that computes decisions when `policies.placement` asks for one; without an answer in time the kernels decide."""

    backend: Literal["cpu", "sim", "vfio"] = Field(
        default="vfio", description="cpu: the kernels behind the driver; sim: the gateware, simulated; vfio: a card"
    )
    address: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])?$")] = Field(
        default="", description="vfio: PCI address, such as 0000:65:00.0"
    )
    mode: Literal["inline", "ring"] = Field(
        default="inline", description="inline: the shard waits for the answer; ring: it goes on, and old answers are dropped"
    )
    deadline_ns: int = Field(default=50_000, ge=1_000, le=1_000_000_000, description="longest wait for an answer")
    deadline_cycles: int = Field(
        default=20_000, ge=16, le=100_000_000, description="the same for a device whose time is clock cycles (sim)"
    )
    cycles_per_poll: int = Field(default=16, ge=1, le=4096, description="sim: clock cycles each poll gives the device")
    retries: int = Field(default=1, ge=0, le=8, description="inline: requests after a bad answer, while there is time")
    breaker_failures: int = Field(default=3, ge=1, le=1000, description="decisions without an answer in a row that open the breaker")
    probe_after: int = Field(
        default=1_000, ge=1, le=1_000_000, description="decisions by the kernels before an open breaker lets one ask again"
    )
    recompute_every: int = Field(default=64, ge=0, le=1_000_000, description="the kernels check one decision in so many; 0 = none")
    max_events_behind: int = Field(default=8, ge=0, le=1_000_000, description="ring: book events after which an answer is too old")


class InstrumentLimits(Section):
    """Limits of one symbol: the largest value that passes; 0 passes nothing."""

    collar_ticks: NotNegative = Field(description="how far past the opposite touch a price may lie; the nearer of this")
    collar_bps: int = Field(ge=0, le=10_000, description="and this share of the reference, 1/10,000")
    max_order_lots: NotNegative = Field(description="largest single order")
    max_order_notional_units: NotNegative = Field(description="largest value of a single order")
    max_working_orders: NotNegative = Field(description="orders of the symbol at the venue, unknown ones counted")
    max_working_notional_units: NotNegative = Field(description="value of those orders")
    max_long_lots: NotNegative = Field(description="longest position, worst case over working and unknown orders")
    max_short_lots: NotNegative = Field(description="shortest position, as a positive number, worst case")
    max_executions: int = Field(ge=0, le=63, description="fills of one side within execution_window_ns before it pauses")
    execution_window_ns: Positive = Field(description="length of that window")
    duplicate_window_ns: NotNegative = Field(description="same side, price and quantity within this is a duplicate")
    max_quote_age_ns: Positive = Field(description="oldest market data an order may rest on")


class BreakerSettings(Section):
    """Breakers that count events in a window: they stop new orders and cancel all; 0 = there is none."""

    max_messages: int = Field(default=0, ge=0, le=1_000_000, description="orders, replaces and cancels within message_window_ns that do not trip it; 0 = off")
    message_window_ns: Positive = Field(default=1_000_000_000, description="length of that window")
    max_rejects: int = Field(default=0, ge=0, le=1_000_000, description="orders the venue refused within reject_window_ns that do not trip it; 0 = off")
    reject_window_ns: Positive = Field(default=1_000_000_000, description="length of that window")
    cooldown_ns: NotNegative = Field(default=5_000_000_000, description="no breaker, loss and drawdown neither, can be armed again before")
    rearm: Literal["manual", "after_cooldown"] = Field(default="manual", description="who arms those that count; loss and drawdown: a person, always")


class Risk(InstrumentLimits):
    """Every limit of the gate. None has a default: an engine without stated limits does not trade."""

    max_account_orders: NotNegative = Field(description="orders at the venue, all symbols together")
    max_account_notional_units: NotNegative = Field(description="value of those orders")
    max_gross_units: NotNegative = Field(description="value of all positions, worst case, signs ignored")
    max_credit_units: NotNegative = Field(description="money tied up in positions and orders")
    max_loss_units: NotNegative = Field(description="loss of the day that stops trading")
    max_drawdown_units: NotNegative = Field(description="fall from the day's best that stops trading")
    max_messages: int = Field(ge=0, le=4095, description="orders, replaces and cancels within message_window_ns")
    message_window_ns: Positive = Field(description="length of that window")
    cancel_reserve_messages: NotNegative = Field(description="part of the window that only cancels may use")
    soft_permille: int = Field(
        ge=1, le=1000, description="share of a limit, of 1,000, from which it is in its soft state"
    )
    max_positions: NotNegative = Field(
        default=500, description="symbols with a position or with orders, all shards together; 0 = no such limit"
    )
    soft_positions: NotNegative = Field(
        default=100, description="above so many of them a shard opens one more only every …; 0 = no such level"
    )
    soft_positions_interval_ns: NotNegative = Field(default=1_000_000_000, description="… and this is how often")
    short_sales: Literal["refuse", "mark"] = Field(description="refuse sales beyond the position, or mark them short")
    restricted_symbols: list[Symbol] = Field(description="symbols that may not be traded; [] when none")
    authorised_strategies: list[Annotated[int, Field(ge=0, le=65535)]] = Field(
        min_length=1, max_length=64, description="strategy numbers that may send orders"
    )
    breakers: BreakerSettings = Field(default=BreakerSettings(), description="breakers that count events")
    by_symbol: dict[str, InstrumentLimits] = Field(
        default={}, description="limits of single symbols, in place of those above"
    )


class Session(Section):
    """The order session's own times."""

    heartbeat_ns: Positive = Field(default=1_000_000_000, description="our heartbeat when nothing else is sent")
    silence_ns: Positive = Field(default=15_000_000_000, description="venue silent this long: the session is lost")
    connect_timeout_ns: Positive = Field(default=2_000_000_000, description="wait for a connection")
    reconnect_delay_ns: Positive = Field(default=200_000_000, description="wait before the next connection")
    answer_timeout_ns: Positive = Field(
        default=1_000_000_000, description="wait for the venue's answer in one round of reconciling"
    )
    cancel_timeout_ns: Positive = Field(default=1_000_000_000, description="wait for a cancel before it is sent again")
    reconcile_rounds: int = Field(
        default=3, ge=1, le=100, description="rounds to agree with the venue; then the shard stays halted until it is resumed"
    )
    capacity: Literal["agency", "principal", "riskless"] = Field(
        default="principal", description="in which capacity orders are sent"
    )


class Execution(Section):
    """How a decision becomes an order; joins are post-only, takes immediate-or-cancel."""

    strategy: int = Field(default=1, ge=0, le=65535, description="strategy number on our orders")
    order_qty_lots: Positive = Field(default=100, description="size of one order")
    max_inventory_lots: Positive = Field(
        default=1_000, description="nothing is asked for that would take the position beyond this"
    )
    max_away_ticks: Positive = Field(default=500, description="a quote further from its best price is cancelled")
    min_resting_ns: NotNegative = Field(default=20_000_000, description="a quote is not moved before this")
    max_resting_ns: Positive = Field(default=5_000_000_000, description="an older quote is cancelled")
    take_interval_ns: NotNegative = Field(default=50_000_000, description="between two takes of one symbol")
    session: Session = Field(default=Session(), description="times of the order session")


class Journal(Section):
    """Where the record of the run lies and how hard it is written."""

    dir: str = Field(default="runs", min_length=1, description="folder under which each run gets its own")
    ring_mb: int = Field(
        default=64, ge=1, le=65536, description="memory ring between the engine and the disk, power of two"
    )
    segment_mb: int = Field(default=256, ge=1, le=65536, description="size of a closed file")
    sync: Literal["none", "segment", "interval", "always"] = Field(
        default="interval", description="when the disk must have it"
    )
    sync_interval_ms: Positive = Field(default=200, description="for `interval`")
    snapshot_records: int = Field(
        default=200_000, ge=0, le=10**12, description="records between two snapshots of the engine's state, 0 = none"
    )
    snapshots_kept: int = Field(default=3, ge=1, le=1000, description="older snapshots are deleted")


class Cores(Section):
    """Which core runs what; `auto` spreads over the cores this process may use, none leaves it to the kernel."""

    feed: Core | Literal["auto"] | None = Field(default=None, description="feed thread, only in the pipelined topology")
    engine: Core | list[Core] | Literal["auto"] | None = Field(
        default=None, description="the thread that trades; a list where there are several, one core each"
    )
    session: Core | Literal["auto"] | None = Field(
        default=None, description="order-session thread, only in the pipelined topology"
    )
    journal: Core | Literal["auto"] | None = Field(default=None, description="journal writer")
    helper: Core | Literal["auto"] | None = Field(default=None, description="Python, panel, supervisor, embedded venue")


class Engine(Section):
    """Threads, memory and the way the engine waits."""

    name: str = Field(
        default="peregrine", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="names the shared memory and the run"
    )
    topology: Literal["inline", "pipelined"] = Field(
        default="inline", description="one thread, or feed, shards and order sessions on threads of their own"
    )
    shards: int = Field(default=1, ge=1, le=16, description="shards the instruments are dealt to, each with its own journal")
    shards_per_thread: int | None = Field(
        default=None, ge=1, le=16, description="pipelined: shards that share a thread; none: one each, more where cores are few"
    )
    assignment: Literal["dealt", "by_load"] = Field(
        default="dealt", description="which shard has which symbol: dealt like cards, or the heaviest `load` first to the lightest shard"
    )
    symbols_per_shard: int = Field(default=8192, ge=1, le=8192, description="most symbols of one shard")
    active_symbols: int | None = Field(
        default=None, ge=0, le=8192, description="only the first so many symbols of each shard may open; none: all"
    )
    feed_ring_kb: int = Field(
        default=4096, ge=512, le=1_048_576, description="pipelined: ring from the feed to one shard, power of two"
    )
    idle: Literal["spin", "yield", "sleep"] = Field(
        default="yield", description="what a thread with nothing to do does"
    )
    cores: Cores = Field(default=Cores(), description="placement of the threads")
    refuse_shared_cores: bool = Field(default=False, description="do not trade when two hot threads share a core")
    mlock: bool = Field(default=True, description="lock the hot memory; the result is reported")
    memory_budget_mb: int = Field(
        default=512, ge=16, le=1_048_576, description="all pools together must fit; sized at start"
    )
    max_orders: Positive = Field(default=65_536, description="live orders of all books")
    max_levels: Positive = Field(default=32_768, description="live price levels of all books")
    max_own_orders: Positive = Field(default=4_096, description="own orders of the day kept at once")
    stall_ms: Positive = Field(default=10, description="a shard its thread did not look at for longer has stalled; counted")
    stage_sample: Positive = Field(default=8, description="inner stages are stamped once in this many")
    supervisor_timeout_ms: NotNegative = Field(
        default=0, description="supervisor silent this long: `supervise.engine_loss_policy` acts; 0 = off"
    )


class Report(Section):
    """What is shown and kept at the end of a run."""

    panel: bool = Field(default=True, description="live panel while running, on a terminal")
    refresh_ms: int = Field(default=250, ge=50, le=60_000, description="time between two readings of the panel")
    histograms: bool = Field(default=True, description="write .hgrm files beside the journal")


class ConstantLatency(Section):
    """The same delay each time."""

    kind: Literal["constant"]
    latency_ns: NotNegative = Field(description="the delay")


class UniformLatency(Section):
    """Any delay between two bounds, evenly, from the run's seed."""

    kind: Literal["uniform"]
    low_ns: NotNegative = Field(description="shortest delay")
    high_ns: NotNegative = Field(description="longest delay")


class RecordedLatency(Section):
    """Delays drawn from a file with equal chance by the run's seed, one integer of nanoseconds a line."""

    kind: Literal["recorded"]
    file: str = Field(min_length=1, description="the file")


Latency = Annotated[ConstantLatency | UniformLatency | RecordedLatency, Field(discriminator="kind")]


class Virtual(Section):
    """Latencies of a run in virtual time."""

    feed_latency: Latency = Field(
        default=ConstantLatency(kind="constant", latency_ns=20_000), description="venue to engine, market data"
    )
    order_latency: Latency = Field(
        default=ConstantLatency(kind="constant", latency_ns=30_000), description="engine to venue, orders"
    )
    answer_latency: Latency = Field(
        default=ConstantLatency(kind="constant", latency_ns=30_000), description="venue to engine, answers"
    )


class Config(Section):
    """A whole configuration."""

    version: Literal[1] = Field(description="version of this file's format")
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="name shown in reports and journals")
    environment: Literal["development", "staging", "production"] = Field(
        default="development", description="production refuses what is only for paper or unsafe; told by the file of environments/"
    )
    instruments: list[Instrument] = Field(min_length=1, max_length=8192, description="what is traded")
    account: Account = Field(default=Account(), description="currency and fees")
    venue: Venue = Field(description="where orders go: `kind: embedded` or `kind: external`")
    feed: Feed = Field(default=Feed(), description="timeouts of the market data")
    policies: Policies = Field(description="who decides")
    device: Device = Field(default=Device(), description="the device that computes decisions, if one does")
    risk: Risk = Field(description="limits; every one must be stated")
    execution: Execution = Field(default=Execution(), description="decision to order")
    journal: Journal = Field(default=Journal(), description="record of the run")
    engine: Engine = Field(default=Engine(), description="threads and memory")
    report: Report = Field(default=Report(), description="panel and report")
    supervise: Supervise = Field(default=Supervise(), description="the process tree of an engine under supervision")
    control: Control = Field(default=Control(), description="the control API")
    observe: Observe = Field(default=Observe(), description="metrics, health, logs")
    day: Day = Field(default=Day(), description="the trading day: the reconciler, and what the day was opened with")
    virtual: Virtual = Field(default=Virtual(), description="latencies in virtual time")
