//! The screen as the boot loader left it: EGA text, or a linear frame buffer on which an 8 by 8 font is drawn.
//!
//! It carries the boot log and, above all, the reason of a stop, to users without a serial cable.

use font8x8::legacy::BASIC_LEGACY;

use crate::physical::Pixels;

const GLYPH: usize = 8;
/// Each pixel row of a glyph is drawn twice, for legibility.
const LINE: usize = 2 * GLYPH;

/// Where and how to draw.
#[derive(Debug)]
pub enum Mode {
    /// Character and attribute bytes, 80 by 25 in general.
    Text,
    /// Pixels of so many bytes.
    Pixels(usize),
}

/// A screen with a cursor.
#[derive(Debug)]
pub struct Screen {
    memory: Pixels,
    mode: Mode,
    pitch: usize,
    columns: usize,
    rows: usize,
    column: usize,
    row: usize,
}

impl Screen {
    /// A screen of `width` by `height` characters or pixels in `memory`, whose lines lie `pitch` bytes apart.
    pub fn new(memory: Pixels, mode: Mode, pitch: usize, width: usize, height: usize) -> Self {
        let (columns, rows) = match mode {
            Mode::Text => (width, height),
            Mode::Pixels(_) => (width / GLYPH, height / LINE),
        };
        let mut screen = Self { memory, mode, pitch, columns, rows, column: 0, row: 0 };
        for row in 0..screen.rows {
            screen.clear(row);
        }
        screen
    }

    /// Writes one character.
    pub fn put(&mut self, byte: u8) {
        if byte == b'\n' || self.column >= self.columns {
            self.column = 0;
            self.row = if self.row + 1 >= self.rows { 0 } else { self.row + 1 };
            // Instead of scrolling, which is slow on a frame buffer, start again at the top.
            self.clear(self.row);
        }
        if byte >= b' ' {
            self.draw(byte);
            self.column += 1;
        }
    }

    fn clear(&mut self, row: usize) {
        match self.mode {
            Mode::Text => {
                for column in 0..self.columns {
                    self.memory.fill(row * self.pitch + 2 * column, 1, b' ');
                    self.memory.fill(row * self.pitch + 2 * column + 1, 1, 7);
                }
            }
            Mode::Pixels(_) => self.memory.fill(row * LINE * self.pitch, LINE * self.pitch, 0),
        }
    }

    fn draw(&mut self, byte: u8) {
        match self.mode {
            Mode::Text => self.memory.fill(self.row * self.pitch + 2 * self.column, 1, byte),
            Mode::Pixels(size) => {
                let glyph = BASIC_LEGACY.get(usize::from(byte)).unwrap_or(&[0x7e; GLYPH]);
                for line in 0..LINE {
                    let start = (self.row * LINE + line) * self.pitch + self.column * GLYPH * size;
                    for pixel in 0..GLYPH {
                        let on = glyph[line / 2] >> pixel & 1 != 0;
                        self.memory.fill(start + pixel * size, size, if on { 0xc0 } else { 0 });
                    }
                }
            }
        }
    }
}
