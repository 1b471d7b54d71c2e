//! A process that calls the object of another, and shares a value.

fn main() -> andiron::Result<()> {
    let hub = andiron::connect()?;
    let moved: f64 = hub.call("player", "seek", &(12.5,))?;
    hub.store().set("moved", &moved)?;
    println!("moved by {moved} s");
    Ok(())
}
