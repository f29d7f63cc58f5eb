use crate::client::Policy;
use crate::table::Table;
use crate::world::{Scenario, secs};

#[test]
fn a_equal() {
    let s = Scenario { name: "A: equal", ..Scenario::default() };
    let began = std::time::Instant::now();
    Table::of(&s, &Policy::ALL);
    println!("{:?}", began.elapsed());
}
#[test]
fn b_slow() {
    let s = Scenario { name: "B: slow", rate: 600.0, slowness: vec![1.0, 1.0, 3.0], ..Scenario::default() };
    let began = std::time::Instant::now();
    Table::of(&s, &Policy::ALL);
    println!("{:?}", began.elapsed());
}
#[test]
fn b_slow_1() {
    let s = Scenario { name: "B1: slow, 1 client", clients: 1, slots: 60, rate: 600.0, slowness: vec![1.0, 1.0, 3.0], ..Scenario::default() };
    let began = std::time::Instant::now();
    Table::of(&s, &Policy::ALL);
    println!("{:?}", began.elapsed());
}
#[test]
fn b_slow_100() {
    let s = Scenario { name: "B100: slow, 100 client", clients: 100, slots: 10, rate: 600.0, slowness: vec![1.0, 1.0, 3.0], ..Scenario::default() };
    let began = std::time::Instant::now();
    Table::of(&s, &Policy::ALL);
    println!("{:?}", began.elapsed());
}
#[test]
fn i_hold() {
    let s = Scenario { name: "I: hold", clients: 1, slots: 60, length: secs(60), hold: Some((10_000, secs(10))), ..Scenario::default() };
    let began = std::time::Instant::now();
    Table::of(&s, &Policy::ALL);
    println!("{:?}", began.elapsed());
}
