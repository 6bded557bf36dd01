// Answers reads of a window that is only ever written: all ones, OKAY, one read at a time.
//
// A PCIe read that nothing answers holds up the CPU that made it until a timeout of milliseconds, and may take the machine
// down with it. All ones is what a CPU reads where no device is, so a stray read is told apart from a request's bytes.
// SLVERR would do for AXI, but bridges make a PCIe error of it, which the operating system may treat as a broken card.
module peregrine_read_responder #(
    parameter DATA_BITS = 64
) (
    input  wire                 clk,
    input  wire                 rst,
    input  wire                 arvalid,
    output wire                 arready,
    output wire [DATA_BITS-1:0] rdata,
    output wire [          1:0] rresp,
    output reg                  rvalid,
    input  wire                 rready
);
  initial rvalid = 1'b0;
  assign arready = ~rst & ~rvalid;
  assign rdata = {DATA_BITS{1'b1}};
  assign rresp = 2'b00;
  always @(posedge clk)
    if (rst) rvalid <= 1'b0;
    else if (arvalid & arready) rvalid <= 1'b1;
    else if (rready) rvalid <= 1'b0;
endmodule
