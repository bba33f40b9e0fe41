//! The order that records must have.

use migrate_common::record::{Header, Kind};

use super::error::LogError;

/// Checks records one after the other, across chunks: `seq` ascends by one, and an Image stands directly behind its Exec and
/// repeats its `seq`. The first record may have any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    next_seq: Option<u64>,
    /// `seq` and task of the last record when it was an Exec.
    exec: Option<(u64, u32)>,
}

impl Order {
    /// Takes the next record's header.
    ///
    /// # Errors
    /// [`LogError::Order`], [`LogError::Image`], [`LogError::Piece`]; the order is unchanged then.
    pub fn accept(&mut self, head: &Header) -> Result<(), LogError> {
        match Kind::from_u8(head.kind) {
            Some(Kind::Image) if self.next_seq.is_some() && self.exec != Some((head.seq, head.tid)) => {
                return Err(LogError::Image { seq: head.seq, tid: head.tid });
            }
            Some(Kind::Piece) => return Err(LogError::Piece { seq: head.seq }),
            Some(Kind::Image) => self.exec = None,
            kind => {
                if let Some(expected) = self.next_seq.filter(|&next| next != head.seq) {
                    return Err(LogError::Order { expected, found: head.seq });
                }
                self.exec = (kind == Some(Kind::Exec)).then_some((head.seq, head.tid));
            }
        }
        self.next_seq = Some(head.seq.wrapping_add(1));
        Ok(())
    }

    /// The number of the next record, once there was one.
    #[must_use]
    pub const fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: Kind, seq: u64, tid: u32) -> Header {
        Header { kind: kind as u8, seq, tid, ..Header::default() }
    }

    fn accepts(heads: &[Header]) -> Result<Order, LogError> {
        let mut order = Order::default();
        heads.iter().try_for_each(|h| order.accept(h)).map(|()| order)
    }

    #[test]
    fn an_image_repeats_the_number_of_its_exec() {
        let order =
            accepts(&[head(Kind::Syscall, 7, 1), head(Kind::Exec, 8, 1), head(Kind::Image, 8, 1), head(Kind::Exit, 9, 1)]);
        assert_eq!(order.unwrap().next_seq(), Some(10));
    }

    #[test]
    fn an_exec_whose_task_was_killed_at_once_has_no_image() {
        accepts(&[head(Kind::Exec, 0, 1), head(Kind::Exit, 1, 1)]).unwrap();
    }

    #[test]
    fn an_image_elsewhere_is_refused() {
        for wrong in [
            vec![head(Kind::Syscall, 0, 1), head(Kind::Image, 0, 1)],
            vec![head(Kind::Exec, 0, 1), head(Kind::Image, 0, 2)],
            vec![head(Kind::Exec, 0, 1), head(Kind::Image, 1, 1)],
            vec![head(Kind::Exec, 0, 1), head(Kind::Image, 0, 1), head(Kind::Image, 0, 1)],
        ] {
            assert!(matches!(accepts(&wrong), Err(LogError::Image { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn a_hole_or_a_repetition_is_refused() {
        for second in [0, 2, u64::MAX] {
            let wrong = accepts(&[head(Kind::Syscall, 0, 1), head(Kind::Syscall, second, 1)]);
            assert!(matches!(wrong, Err(LogError::Order { expected: 1, found }) if found == second));
        }
    }

    #[test]
    fn a_piece_is_refused() {
        assert!(matches!(accepts(&[head(Kind::Piece, 0, 1)]), Err(LogError::Piece { seq: 0 })));
    }
}
