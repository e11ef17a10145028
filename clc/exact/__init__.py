"""Integer arithmetic carried in floating point: the same bits on every machine.

Everything that decides a symbol is computed here: by functions on grids (`grid`), layers (`layers`), softmax and powers
of two (`functions`), on the phases of a checkerboard (`checkerboard`).

Ledger of grids (q10 means multiples of 2**-10):

    activations, tokens         q10, |a| <= 32          16 bits
    means of the latents        q6,  |mu| <= 4096       19 bits
    weights                     int16 times 2**-shift, one shift (0..20) for each output channel
    biases                      int32, q20
    attention logits            q6;  attention weights  q15
    powers of two               q16 mantissa, exponent -32..32
    partial sums                at most 2**53 units, proven for each output channel by `layers.sum_bound_bits`
"""
