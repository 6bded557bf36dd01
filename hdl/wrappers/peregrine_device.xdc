# Timing of the two clocks of peregrine_device, for AMD's tools; written for the wrapper peregrine_card around it.
#
# No vendor's tool has read this file. What the project tests is that every name below is in the Verilog that
# `peregrine_hdl emit` writes, that the registers named are on the clocks named, and that no synchroniser is left out.
#
# The clocks themselves come with what makes them: the bridge's IP constrains axi_aclk, the MMCM's its outputs. Where the
# wrapper is the top (a trial of its timing alone) uncomment these, with your periods in ns:
# create_clock -name axi_aclk -period 4.000 [get_ports axi_aclk]
# create_clock -name core_clk -period 5.000 [get_ports core_clk]
#
# Keep the hierarchy's names: flatten_hierarchy "rebuilt" (the default) or "none", not "full".

# Both clocks, found at a register that stands on each, whatever they are called where the device is built in.
set pgd_bus_clock [get_clocks -of_objects [get_pins -hierarchical -filter {NAME =~ *device/reset/hold_work_reg/C}]]
set pgd_core_clock [get_clocks -of_objects [get_pins -hierarchical -filter {NAME =~ *device/reset/held_reg*/C}]]
set pgd_both_clocks [get_clocks -of_objects [get_pins -hierarchical -filter {NAME =~ *device/reset/hold_work_reg/C || NAME =~ *device/reset/held_reg*/C}]]

# Flip-flops that may go metastable, next to each other and never merged or made a shift register:
#   crossing/*/produce_cdc, consume_cdc   Gray pointers of the queues between the clocks
#   crossing/*/rst_cdc                    resets of the queues' reading sides
#   crossing/*_count*/sync                Gray counters that the bus side reads
#   reset/*                               resets and their acknowledgement from one side to the other
#   *_reset/held                          the wrapper's own resets; they say so in the Verilog too
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/crossing/*/produce_cdc/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/crossing/*/consume_cdc/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/crossing/*/rst_cdc/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/crossing/*_count*/sync/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/reset/caught/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/reset/down/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/reset/seen*/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *device/reset/to_core/stage*_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *bus_reset/held_reg*}]
set_property ASYNC_REG TRUE [get_cells -hierarchical -filter {NAME =~ *core_reset/held_reg*}]

# From either clock to the other nothing takes longer than the shorter period. For a Gray pointer or counter this is the
# limit on skew: its bits change one a clock, so with less than a period between the fastest and the slowest wire a
# reader sees the value before or the value after, never a third. For a queue's data, which was written at least two
# clocks of the reader before the pointer said so, and for resets, it is more than enough.
#
# Not set_clock_groups -asynchronous, and no false path between the clocks: either outranks set_max_delay, and nothing
# would then keep a pointer's bits together.
# Where both clocks are one, leave these two out: they would loosen every path of it. They hold for whatever else of the
# design lies between the two clocks too.
set_max_delay -datapath_only -from $pgd_bus_clock -to $pgd_core_clock \
    [get_property -min PERIOD $pgd_both_clocks]
set_max_delay -datapath_only -from $pgd_core_clock -to $pgd_bus_clock \
    [get_property -min PERIOD $pgd_both_clocks]

# Resets that come from outside both clocks begin at any time, by the asynchronous pins; their end is synchronised.
set_false_path -to [get_pins -hierarchical -filter {NAME =~ *bus_reset/held_reg*/PRE}]
set_false_path -to [get_pins -hierarchical -filter {NAME =~ *core_reset/held_reg*/PRE}]
