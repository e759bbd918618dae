//! What plugins ask and remember, through the gateway and with real components: within their grants and limits, and
//! never where a label forbids.

mod asking;
mod five_ways;
mod support;
