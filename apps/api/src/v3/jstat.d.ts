/** What is used of jstat, which brings no types. */
declare module 'jstat' {
  export const jStat: {
    readonly studentt: {
      /** The value that Student's t with `freedom` degrees of freedom stays below with probability `share`; to about nine digits. */
      inv(share: number, freedom: number): number;
    };
  };
}
