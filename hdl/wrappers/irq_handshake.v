// From a pulse of one clock to a request that stands until it is acknowledged.
//
//   irq  __/‾\________________/‾\______________
//   req  ____/‾‾‾‾‾‾‾‾‾‾‾\_________/‾‾‾‾‾‾‾\___
//   ack  ______________/‾\_______________/‾\___
//
// No pulse is lost: one that comes while a request stands is told by another request after it, several of them by one.
// That is enough, since an interrupt only says that the completion ring is worth a look. For MSI and MSI-X, where a bridge
// acknowledges once, when the message was sent; the vendor's own driver wants the request held until it was served, for a
// register of pending ones that nothing here reads. With INTx it would acknowledge the fall of req too, so leave INTx off.
module peregrine_irq_handshake (
    input  wire clk,
    input  wire rst,
    input  wire irq,
    output reg  req,
    input  wire ack
);
  reg waiting = 1'b0;
  initial req = 1'b0;
  wire begins = (waiting | irq) & ~req & ~ack;
  always @(posedge clk)
    if (rst) begin
      waiting <= 1'b0;
      req <= 1'b0;
    end else begin
      waiting <= (waiting | irq) & ~begins;
      if (begins) req <= 1'b1;
      else if (ack) req <= 1'b0;
    end
endmodule
