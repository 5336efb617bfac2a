//! Checks of the pages that are not doc tests.

mod burn_layers;
mod copies;
mod errors;
mod faults;
mod kronecker;
mod layers;
mod links;
mod markdown;
mod numbers;
mod pages;
mod scale;
