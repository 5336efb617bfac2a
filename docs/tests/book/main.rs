//! Checks of the pages that are not doc tests.

mod copies;
mod errors;
mod layers;
mod links;
mod markdown;
mod numbers;
mod pages;
