//! Losses of language models over large vocabularies, a few positions at a time.
//!
//! The logits of a language model are `[M, T, V]` with V entries in the vocabulary: 2,048 tokens and a
//! vocabulary of 151,936 are 1.2 GB in f32, and their gradient and the softmax take as much again.
//! [`token_cross_entropy`] takes the hidden states below the output head instead. It goes through the
//! positions that have an answer in slices, and keeps of each slice what a step needs: the losses, the
//! gradient with respect to the hidden states, s_n (the squared gradient with respect to the logits),
//! and labels drawn from the model where a method asks for them.
//!
//! [`VocabularyHead`] is the output head: a linear layer or the embedding table, frozen or trained, with
//! low-rank adapters and a soft cap.
//!
//! In a [`Tape`](crate::Tape) the loss is recorded per sample, and the call takes the place of
//! [`mark_output`](crate::mark_output). Outside of one it is an ordinary loss for any optimizer.

mod answers;
mod batch;
mod head;
mod losses;
mod record;
mod slices;
mod token_losses;

pub use answers::IGNORED;
pub use head::VocabularyHead;
pub use losses::token_cross_entropy;
pub use token_losses::TokenLosses;
