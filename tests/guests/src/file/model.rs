//! A file against a model of it.

use crate::kit::{Chain, Result, WorkDir, fd};

/// 300 random operations on a file agree with the same on a vector, at each step and at the end.
pub fn model(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let (mut model, mut offset) = (Vec::<u8>::new(), 0usize);
    let put = |model: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        // Nothing written behind the end does not make a file longer.
        if bytes.is_empty() {
            return;
        }
        model.resize(model.len().max(at + bytes.len()), 0);
        model[at..at + bytes.len()].copy_from_slice(bytes);
    };
    for step in 0..300 {
        let len = chain.below(3000) as usize;
        let at = chain.below(20_000) as usize;
        match chain.below(6) {
            0 => {
                let bytes = chain.data(len);
                fd::write_all(file, &bytes)?;
                put(&mut model, offset, &bytes);
                offset += len;
            }
            1 => {
                let bytes = chain.data(len);
                check_eq!(sys!(pwrite(file, bytes.as_ptr().cast(), len, at as i64))? as usize, len, "pwrite of step {step}");
                put(&mut model, at, &bytes);
            }
            2 => {
                let mut bytes = vec![0; len];
                let got = fd::read(file, &mut bytes)?;
                let wanted = &model[offset.min(model.len())..(offset + len).min(model.len())];
                check_eq!(&bytes[..got], wanted, "read of step {step}");
                chain.bytes(wanted);
                offset += got;
            }
            3 => {
                let mut bytes = vec![0; len];
                let got = sys!(pread(file, bytes.as_mut_ptr().cast(), len, at as i64))? as usize;
                check_eq!(&bytes[..got], &model[at.min(model.len())..(at + len).min(model.len())], "pread of step {step}");
                chain.bytes(&bytes[..got]);
            }
            4 => {
                sys!(lseek(file, at as i64, libc::SEEK_SET))?;
                offset = at;
            }
            _ => {
                sys!(ftruncate(file, at as i64))?;
                model.resize(at, 0);
            }
        }
    }
    check!(std::fs::read("file")? == model, "the file differs from the model");
    chain.bytes(&model);
    fd::close(file)
}
