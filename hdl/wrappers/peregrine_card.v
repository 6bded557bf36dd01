// The device as a PCIe bridge wants it: AMD's XDMA in bridge mode, or QDMA, goes on the other side of these ports.
//
//   bridge's AXI4 manager ─▶ SmartConnect ─┬─ AXI4-Lite, 32 bits ─▶ s_axil ──▶ ┌───────────┐
//                            (widths, IDs, │                                   │           │
//                             bursts)      └─ AXI4-Lite, 64 bits ─▶ s_push ─┬▶ │ peregrine │◀── core_clk
//                                                             reads: responder │ _device   │    core_locked
//   bridge's AXI4 subordinate ◀─ SmartConnect ◀─ AXI4, 64 bits ─── m_axi ◀──── │           │    (an MMCM)
//   usr_irq_req, usr_irq_ack ◀──────────────────────────────── handshake ◀──── └───────────┘
//
// What it adds to the device: answers to reads of the push window, a request line out of the pulse `irq`, resets that end
// on their clocks, and the AXI4 members that the device does not have. docs/guide/card.md says how to connect it.
//
// The bus side leaves reset three clocks after axi_aresetn, but a bridge may send in the first. `open` holds its requests
// at the door until then: the device's own ready is high in reset, and what it took there would be lost and never answered.
module peregrine_card #(
    parameter ID_BITS = 4  // of the bridge's AXI4 subordinate; the device uses one ID
) (
    // clocks and resets; the vendor's bridge makes the first two, an MMCM the others
    (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF s_axil:s_push:m_axi, ASSOCIATED_RESET axi_aresetn" *)
    input  wire               axi_aclk,
    input  wire               axi_aresetn,
    input  wire               core_clk,
    input  wire               core_locked,
    // BAR0: registers, 32 bits
    input  wire        [11:0] s_axil_awaddr,
    input  wire         [2:0] s_axil_awprot,
    input  wire               s_axil_awvalid,
    output wire               s_axil_awready,
    input  wire        [31:0] s_axil_wdata,
    input  wire         [3:0] s_axil_wstrb,
    input  wire               s_axil_wvalid,
    output wire               s_axil_wready,
    output wire         [1:0] s_axil_bresp,
    output wire               s_axil_bvalid,
    input  wire               s_axil_bready,
    input  wire        [11:0] s_axil_araddr,
    input  wire         [2:0] s_axil_arprot,
    input  wire               s_axil_arvalid,
    output wire               s_axil_arready,
    output wire        [31:0] s_axil_rdata,
    output wire         [1:0] s_axil_rresp,
    output wire               s_axil_rvalid,
    input  wire               s_axil_rready,
    // BAR2: the push window, 64 bits
    input  wire        [11:0] s_push_awaddr,
    input  wire         [2:0] s_push_awprot,
    input  wire               s_push_awvalid,
    output wire               s_push_awready,
    input  wire        [63:0] s_push_wdata,
    input  wire         [7:0] s_push_wstrb,
    input  wire               s_push_wvalid,
    output wire               s_push_wready,
    output wire         [1:0] s_push_bresp,
    output wire               s_push_bvalid,
    input  wire               s_push_bready,
    input  wire        [11:0] s_push_araddr,
    input  wire         [2:0] s_push_arprot,
    input  wire               s_push_arvalid,
    output wire               s_push_arready,
    output wire        [63:0] s_push_rdata,
    output wire         [1:0] s_push_rresp,
    output wire               s_push_rvalid,
    input  wire               s_push_rready,
    // host memory
    output wire [ID_BITS-1:0] m_axi_awid,
    output wire        [63:0] m_axi_awaddr,
    output wire         [7:0] m_axi_awlen,
    output wire         [2:0] m_axi_awsize,
    output wire         [1:0] m_axi_awburst,
    output wire               m_axi_awlock,
    output wire         [3:0] m_axi_awcache,
    output wire         [2:0] m_axi_awprot,
    output wire               m_axi_awvalid,
    input  wire               m_axi_awready,
    output wire        [63:0] m_axi_wdata,
    output wire         [7:0] m_axi_wstrb,
    output wire               m_axi_wlast,
    output wire               m_axi_wvalid,
    input  wire               m_axi_wready,
    input  wire [ID_BITS-1:0] m_axi_bid,
    input  wire         [1:0] m_axi_bresp,
    input  wire               m_axi_bvalid,
    output wire               m_axi_bready,
    output wire [ID_BITS-1:0] m_axi_arid,
    output wire        [63:0] m_axi_araddr,
    output wire         [7:0] m_axi_arlen,
    output wire         [2:0] m_axi_arsize,
    output wire         [1:0] m_axi_arburst,
    output wire               m_axi_arlock,
    output wire         [3:0] m_axi_arcache,
    output wire         [2:0] m_axi_arprot,
    output wire               m_axi_arvalid,
    input  wire               m_axi_arready,
    input  wire [ID_BITS-1:0] m_axi_rid,
    input  wire        [63:0] m_axi_rdata,
    input  wire         [1:0] m_axi_rresp,
    input  wire               m_axi_rlast,
    input  wire               m_axi_rvalid,
    output wire               m_axi_rready,
    // the bridge's interrupt handshake
    output wire               usr_irq_req,
    input  wire               usr_irq_ack
);
  wire rst, core_rst, irq;
  wire open = ~rst;
  wire axil_awready, axil_wready, axil_arready, push_awready, push_wready;
  wire device_awid, device_arid;

  peregrine_reset_release bus_reset (.clk(axi_aclk), .good(axi_aresetn), .rst(rst));
  peregrine_reset_release core_reset (.clk(core_clk), .good(core_locked), .rst(core_rst));

  assign s_axil_awready = axil_awready & open;
  assign s_axil_wready = axil_wready & open;
  assign s_axil_arready = axil_arready & open;
  assign s_push_awready = push_awready & open;
  assign s_push_wready = push_wready & open;

  peregrine_read_responder #(.DATA_BITS(64)) push_reads (
      .clk(axi_aclk),
      .rst(rst),
      .arvalid(s_push_arvalid),
      .arready(s_push_arready),
      .rdata(s_push_rdata),
      .rresp(s_push_rresp),
      .rvalid(s_push_rvalid),
      .rready(s_push_rready)
  );

  peregrine_irq_handshake interrupt (
      .clk(axi_aclk),
      .rst(rst),
      .irq(irq),
      .req(usr_irq_req),
      .ack(usr_irq_ack)
  );

  // one transfer of each kind at a time, so one ID; normal, non-cacheable, bufferable memory; ordinary data
  assign m_axi_awid = {{(ID_BITS - 1) {1'b0}}, device_awid};
  assign m_axi_arid = {{(ID_BITS - 1) {1'b0}}, device_arid};
  assign {m_axi_awlock, m_axi_awcache, m_axi_awprot} = {1'b0, 4'b0011, 3'b000};
  assign {m_axi_arlock, m_axi_arcache, m_axi_arprot} = {1'b0, 4'b0011, 3'b000};

  peregrine_device device (
      .clk(axi_aclk),
      .rst(rst),
      .core_clk(core_clk),
      .core_rst(core_rst),
      .irq(irq),
      .s_axil_awaddr(s_axil_awaddr),
      .s_axil_awprot(s_axil_awprot),
      .s_axil_awvalid(s_axil_awvalid & open),
      .s_axil_awready(axil_awready),
      .s_axil_wdata(s_axil_wdata),
      .s_axil_wstrb(s_axil_wstrb),
      .s_axil_wvalid(s_axil_wvalid & open),
      .s_axil_wready(axil_wready),
      .s_axil_bresp(s_axil_bresp),
      .s_axil_bvalid(s_axil_bvalid),
      .s_axil_bready(s_axil_bready),
      .s_axil_araddr(s_axil_araddr),
      .s_axil_arprot(s_axil_arprot),
      .s_axil_arvalid(s_axil_arvalid & open),
      .s_axil_arready(axil_arready),
      .s_axil_rdata(s_axil_rdata),
      .s_axil_rresp(s_axil_rresp),
      .s_axil_rvalid(s_axil_rvalid),
      .s_axil_rready(s_axil_rready),
      .s_push_awaddr(s_push_awaddr),
      .s_push_awprot(s_push_awprot),
      .s_push_awvalid(s_push_awvalid & open),
      .s_push_awready(push_awready),
      .s_push_wdata(s_push_wdata),
      .s_push_wstrb(s_push_wstrb),
      .s_push_wvalid(s_push_wvalid & open),
      .s_push_wready(push_wready),
      .s_push_bresp(s_push_bresp),
      .s_push_bvalid(s_push_bvalid),
      .s_push_bready(s_push_bready),
      .m_axi_awid(device_awid),
      .m_axi_awaddr(m_axi_awaddr),
      .m_axi_awlen(m_axi_awlen),
      .m_axi_awsize(m_axi_awsize),
      .m_axi_awburst(m_axi_awburst),
      .m_axi_awvalid(m_axi_awvalid),
      .m_axi_awready(m_axi_awready),
      .m_axi_wdata(m_axi_wdata),
      .m_axi_wstrb(m_axi_wstrb),
      .m_axi_wlast(m_axi_wlast),
      .m_axi_wvalid(m_axi_wvalid),
      .m_axi_wready(m_axi_wready),
      .m_axi_bid(m_axi_bid[0]),
      .m_axi_bresp(m_axi_bresp),
      .m_axi_bvalid(m_axi_bvalid),
      .m_axi_bready(m_axi_bready),
      .m_axi_arid(device_arid),
      .m_axi_araddr(m_axi_araddr),
      .m_axi_arlen(m_axi_arlen),
      .m_axi_arsize(m_axi_arsize),
      .m_axi_arburst(m_axi_arburst),
      .m_axi_arvalid(m_axi_arvalid),
      .m_axi_arready(m_axi_arready),
      .m_axi_rid(m_axi_rid[0]),
      .m_axi_rdata(m_axi_rdata),
      .m_axi_rresp(m_axi_rresp),
      .m_axi_rlast(m_axi_rlast),
      .m_axi_rvalid(m_axi_rvalid),
      .m_axi_rready(m_axi_rready)
  );
endmodule
