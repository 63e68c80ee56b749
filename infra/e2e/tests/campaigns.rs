//! The longest tests, in a module of their own: tests begin in the order of their names, and one that
//! began last would be waited for alone.

mod soak;
mod torture;
