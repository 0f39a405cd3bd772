//! The pages of docs/, to read beside the documentation of each item.
//!
//! - New to sockets: [the lessons](lessons), twelve of them, from a first server to many machines.
//! - New to landline: [the tour](tour), then [recipes], what people [ask for in std](wishes), and [each example next to
//!   plain std](twins).
//! - Coming from another library: [Node](node), [std's sockets](self::std), [Go, tokio or Python](others).
//! - Building landline into a larger program: [what that program may rely on](embedding).
//! - Looking something up: [error codes, what blocks, fixed intervals](mod@reference), [defaults], [stability],
//!   [platforms], [which function shows which idea](index).
//! - Behind it: [the design](design), and [how it was tested](reliability).
//!
//! This module exists only in the documentation. No program can use it.

// links.md says where the pages' links lead here, and holds their pictures. Of two definitions of a link the first one
// counts, so it stands before the page. The test docs::guide holds it.

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/tour.md")]
pub mod tour {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/README.md")]
pub mod lessons {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/01-a-first-server.md")]
pub mod lesson_01 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/02-talking-to-a-client.md")]
pub mod lesson_02 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/03-the-clients-side.md")]
pub mod lesson_03 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/04-who-says-goodbye.md")]
pub mod lesson_04 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/05-how-many-at-once.md")]
pub mod lesson_05 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/06-time.md")]
pub mod lesson_06 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/07-many-writers-slow-readers.md")]
pub mod lesson_07 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/08-datagrams.md")]
pub mod lesson_08 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/09-one-to-many.md")]
pub mod lesson_09 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/10-one-loop-for-everything.md")]
pub mod lesson_10 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/11-shutting-down.md")]
pub mod lesson_11 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/lessons/12-many-machines.md")]
pub mod lesson_12 {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/recipes.md")]
pub mod recipes {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/wishes.md")]
pub mod wishes {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/twins.md")]
pub mod twins {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/node.md")]
pub mod node {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/std.md")]
pub mod std {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/others.md")]
pub mod others {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/embedding.md")]
pub mod embedding {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/reference.md")]
pub mod reference {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/defaults.md")]
pub mod defaults {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/stability.md")]
pub mod stability {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/platforms.md")]
pub mod platforms {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/design.md")]
pub mod design {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/reliability.md")]
pub mod reliability {}

#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/index.md")]
pub mod index {}
