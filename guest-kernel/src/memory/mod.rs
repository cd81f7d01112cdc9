//! Memory: the hierarchy of Mappings and Regions, and the tables that cache it.

pub mod address_map;
pub mod dirty;
pub mod frames;
pub mod hierarchy;
pub mod page_set;
pub mod page_table;
pub mod places;
pub mod shadow;
pub mod window;
