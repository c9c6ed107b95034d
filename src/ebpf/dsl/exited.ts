/** Marks that a block has left on every path. */
export class Exited {
  declare private readonly brand: 'exited';
}
