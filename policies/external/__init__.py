"""A vision-language model of transformers that draws through a pipeline of diffusers.

What joins the two is a bridge: learned inputs whose hidden states become what the pipeline is
conditioned on."""
