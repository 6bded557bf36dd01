// A reset that begins at once and ends on this clock: high while `good` is low, and three clocks longer.
//
//   good ____/‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾\____      whatever clock it belongs to
//   rst  ‾‾‾‾‾‾‾‾‾‾‾‾\_______/‾‾‾‾      falls on an edge of clk, so that all flip-flops leave it together
//
// It needs no clock to begin: a core clock that has stopped resets its side all the same.
module peregrine_reset_release (
    input  wire clk,
    input  wire good,
    output wire rst
);
  (* ASYNC_REG = "TRUE" *) reg [2:0] held = 3'b111;
  always @(posedge clk or negedge good)
    if (!good) held <= 3'b111;
    else held <= {held[1:0], 1'b0};
  assign rst = held[2];
endmodule
